"""Text to video: one clip, what is reported while it renders, and what the file remembers."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from videogen import Engine, Progress, RenderRequest, Video


def show(progress: Progress) -> None:
    """Called after every step; returning False would cancel the render."""
    print(f"\r{progress.stage} {progress.step}/{progress.steps}", end="", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded", help="an embedded model, a diffusers folder or a hub id")
    parser.add_argument("--prompt", default="a blue star spins on a gray background")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--frames", type=int, default=33)
    parser.add_argument("--out", type=Path, default=Path("out"))
    options = parser.parse_args()

    # Loading costs seconds, rendering a small clip hardly more: keep the engine and render many.
    engine = Engine.load(options.model)
    video = engine.generate(options.prompt, frames=options.frames, steps=options.steps, seed=7, progress=show)
    path = video.save(options.out / "star.mp4", overwrite=True)
    print(f"\n{path}: {len(video)} frames of {video.size[0]}x{video.size[1]} at {video.fps} fps")

    # Every file carries its manifest, so the clip alone is enough to render it again, bit for bit on the same machine.
    manifest = Video.open(path).manifest
    assert manifest is not None
    again = engine.render(RenderRequest.from_dict(manifest["request"]))
    print("rendered again from the file alone:", "same" if np.array_equal(again.frames, video.frames) else "different")
    print("time:", ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in manifest["timings_s"].items()))


if __name__ == "__main__":
    main()
