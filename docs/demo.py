"""The README's image: clips of the embedded model side by side. `python docs/demo.py` writes docs/demo.webp."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from videogen import Engine, RenderRequest, Video
from videogen.motion import Camera, Drag

FRAMES = 33
STORY = """
[00:00-00:01] a red ball moves right on a black background
[00:01-00:03, cut] a yellow triangle grows on a navy background
"""


def clips(engine: Engine) -> Iterator[np.ndarray]:
    """uint8 [FRAMES, height, width, 3] each."""
    yield engine.generate("a blue star spins on a gray background", seed=7).frames
    yield engine.generate("a green square moves in a circle on a striped background", seed=3).frames
    path = Drag((16, 40, 10), [(16, 40), (32, 24), (48, 40)])
    yield engine.generate("a red ball on a black background", seed=1, motion=path).frames
    camera = Camera(pan=10, zoom=1.33)
    yield engine.generate("an orange star stays still on a checkered background", seed=2, motion=camera).frames
    with tempfile.TemporaryDirectory() as folder:
        done = engine.render_long(RenderRequest(story=STORY, seed=3), Path(folder) / "story.mp4")
        yield Video.open(done.path).frames[:FRAMES]


def main() -> None:
    row = np.concatenate([frames.repeat(2, 1).repeat(2, 2) for frames in clips(Engine.load("embedded"))], 2)
    first, *others = (Image.fromarray(frame) for frame in row)
    target = Path(__file__).with_name("demo.webp")
    first.save(target, save_all=True, append_images=others, duration=1000 // 16, loop=0, quality=80, method=6)


if __name__ == "__main__":
    main()
