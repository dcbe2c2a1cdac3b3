"""A clip several times the model's native length, streamed to a file in constant memory, interrupted and resumed."""

from __future__ import annotations

import argparse
from pathlib import Path

from videogen import Cancelled, Engine, Progress, RenderRequest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded", help="an embedded model, a diffusers folder or a hub id")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--continuity", default="auto", help="see `videogen story policies`")
    parser.add_argument("--out", type=Path, default=Path("out"))
    options = parser.parse_args()

    engine = Engine.load(options.model)
    request = RenderRequest(
        prompt="a red ball moves in a circle on a black background",
        frames=options.frames,
        steps=options.steps,
        seed=5,
        continuity=options.continuity,
        retries=1,  # regenerate a segment once if its seam is visible, or if it freezes, drifts or repeats
    )
    options.out.mkdir(parents=True, exist_ok=True)
    output = options.out / "long.mp4"

    # A stand-in for a crash: stop half way. The finished segments are in the folder `long.mp4.job`.
    def stop_early(progress: Progress) -> bool:
        return progress.step < progress.steps // 2

    try:
        engine.render_long(request, output, overwrite=True, progress=stop_early)
    except Cancelled as stopped:
        print(f"interrupted: {stopped}")

    # The same call resumes, and the frames are those of an uninterrupted run, bit for bit.
    video = engine.render_long(request, output, overwrite=True)
    measured = video.manifest["measured"]["long"]
    report = measured["report"]
    print(
        f"{video.path}: {video.frames} frames in {len(measured['segments'])} segments, {video.resumed} of them resumed"
    )
    print(
        f"joined by {measured['continuity']['policy']}: median seam ratio {report['median_ratio']:.2f} (1: invisible)"
    )
    for fault in report["faults"]:
        print("  fault:", fault)


if __name__ == "__main__":
    main()
