"""A shot list: prompts by time, three kinds of transition, and one segment regenerated between its neighbours."""

from __future__ import annotations

import argparse
from pathlib import Path

from videogen import Engine, RenderRequest
from videogen.timeline import parse_story

# `hold` (the default) keeps the clip and changes the prompt; `blend(8)` fades between the prompts over 8 frames; `cut`
# begins a new scene. Further settings of a shot, its own seed and motion, are in docs/guide/long_video.md.
STORY = """
[00:00-00:02] a red ball moves right on a black background
[00:02-00:04, blend(8)] a red ball moves in a circle on a black background
[00:04-00:06, cut] a yellow triangle grows on a blue background
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded", help="an embedded model, a diffusers folder or a hub id")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--out", type=Path, default=Path("out"))
    options = parser.parse_args()

    for shot in parse_story(STORY).shots:
        print(f"{float(shot.start):4.1f} s  {shot.prompt}")

    engine = Engine.load(options.model)
    options.out.mkdir(parents=True, exist_ok=True)
    output = options.out / "story.mp4"
    # keep_job retains the latents of all segments next to the file, so that one of them can be rendered again.
    request = RenderRequest(story=STORY, steps=options.steps, seed=3)
    video = engine.render_long(request, output, overwrite=True, keep_job=True)
    before = video.manifest["measured"]["long"]["segments"]
    print(f"{video.path}: {video.frames} frames in {len(before)} segments")

    # Not happy with the second segment? Another take of it, tied to both neighbours; the others stay as they are.
    video = engine.redo(output, segment=1)
    after = video.manifest["measured"]["long"]["segments"]
    print("regenerated:", [number for number, (old, new) in enumerate(zip(before, after, strict=True)) if old != new])


if __name__ == "__main__":
    main()
