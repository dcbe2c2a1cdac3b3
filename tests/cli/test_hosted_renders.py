"""Renders of saved hosted pipelines from the command line: conditions and options in files, frames as the engine's."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import Run
from tests.cli.test_long import stop_at
from tests.tiny import parts
from tests.tiny.table import load_rows
from videogen import Engine, Video
from videogen.core.files import sha256

ROWS = load_rows()


@dataclass(frozen=True)
class Case:
    """A tiny pipeline and what it is given. flags: on the command line; given: the same as keywords; recorded: (kind,
    file) of each condition, in the order of the manifest."""

    tiny: str
    flags: tuple[str, ...]
    given: dict[str, Any]
    recorded: tuple[tuple[str, str], ...]
    options: dict[str, Any] = field(default_factory=dict)


CASES = {
    "first and last frame, an option": Case(
        "WanImageToVideoPipeline:experts",
        ("--image", "a.png", "--last-image", "b.png", "--set", "max_sequence_length=16"),
        {"image": "a.png", "last_image": "b.png"},
        (("image", "a.png"), ("last_image", "b.png")),
        {"max_sequence_length": 16},
    ),
    "a control video, padded": Case(
        "CogVideoXFunControlPipeline",
        ("--control", "depth=in.mp4", "--fit", "pad"),
        {"control": {"depth": "in.mp4"}, "fit": "pad"},
        (("control", "in.mp4"),),
    ),
    "an image, two options": Case(
        "StableVideoDiffusionPipeline",
        ("--image", "a.png", "--set", "motion_bucket_id=100", "--set", "noise_aug_strength=0.05"),
        {"image": "a.png"},
        (("image", "a.png"),),
        {"motion_bucket_id": 100, "noise_aug_strength": 0.05},
    ),
    "a video and its strength": Case(
        "WanVideoToVideoPipeline",
        ("--video", "in.mp4", "--strength", "0.7"),
        {"video": "in.mp4", "strength": 0.7},
        (("video", "in.mp4"),),
    ),
    "a video, its mask and references": Case(
        "WanVACEPipeline",
        ("--video", "in.mp4", "--mask", "m.png", "--reference", "a.png", "--reference", "b.png"),
        {"video": "in.mp4", "mask": "m.png", "references": ["a.png", "b.png"]},
        (("video", "in.mp4"), ("mask", "m.png"), ("references", "a.png"), ("references", "b.png")),
    ),
    "images at frames": Case(
        "LTXConditionPipeline",
        ("--images", "0=a.png", "--images", "-1=b.png"),
        {"images": {0: "a.png", -1: "b.png"}},
        (("images", "a.png"), ("images", "b.png")),
    ),
}
CORE = ("first and last frame, an option",)
each = pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=name, marks=() if name in CORE else pytest.mark.slow) for name, case in CASES.items()],
)


def write_files(width: int, height: int, frames: int) -> None:
    """The sources of all cases, of the clip's size."""
    for number, name in enumerate(("a.png", "b.png")):
        parts.image(width, height, 90 * number).save(name)
    parts.mask(1, width, height)[0].save("m.png")
    Video(np.stack([np.array(one) for one in parts.clip(frames, width, height)]), fps=8).save("in.mp4")


@each
def test_a_render_with_conditions_is_the_engines(case: Case, run: Run, tmp_path: Path) -> None:
    """Written as PNGs, so that the frames are those of the engine bit for bit; repeated from the file alone."""
    ROWS[case.tiny].build().save_pretrained(tmp_path / "model")
    frames, width, height = ROWS[case.tiny].sizes[0]
    write_files(width, height, frames)
    flags = ("--frames", frames, "--size", f"{width}x{height}", "--steps", 2, "--seed", 5, *case.flags)
    outcome = run("render", "a red ball", "--model", "model", *flags, "-o", "out", "--json")
    assert outcome.code == 0, outcome.err
    expected = Engine.load("model").generate(
        "a red ball", frames=frames, size=(width, height), steps=2, seed=5, options=case.options or None, **case.given
    )
    assert np.array_equal(Video.open("out").frames, expected.frames) and len(expected) == frames
    records = json.loads(outcome.out)["manifest"]["measured"]["conditions"]
    assert [(one["kind"], one["file"], one["sha256"]) for one in records] == [
        (kind, str(tmp_path / name), sha256(tmp_path / name)) for kind, name in case.recorded
    ]
    assert run("render", "--like", "out", "-o", "again").code == 0
    assert np.array_equal(Video.open("again").frames, expected.frames)


def test_a_misspelt_option_of_the_pipeline_is_refused_before_its_weights_are_read(run: Run, tmp_path: Path) -> None:
    ROWS["WanImageToVideoPipeline:experts"].build().save_pretrained(tmp_path / "model")
    write_files(32, 32, 5)
    for weights in (tmp_path / "model").rglob("*.safetensors"):
        weights.unlink()
    flags = ("--image", "a.png", "--set", "max_sequence_lenght=16", "-o", "out.mp4")
    outcome = run("render", "a red ball", "--model", "model", *flags)
    assert outcome.code == 2 and "did you mean 'max_sequence_length'?" in outcome.err
    assert not (tmp_path / "out.mp4").exists()


def test_keyframes_of_an_interrupted_video_are_listed_and_resumed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two clips, from the first image to the second and on to the third; the video is left in its second clip."""
    ROWS["WanImageToVideoPipeline:experts"].build().save_pretrained(tmp_path / "model")
    write_files(32, 32, 5)
    images = ("--images", "0=a.png", "--images", "4=b.png", "--images", "-1=a.png")
    flags = ("--frames", 13, "--window", 9, "--size", "32x32", "--steps", 2, "--seed", 5, *images)
    with monkeypatch.context() as patched:
        stop_at(patched, 3)
        stopped = run("render", "a red ball", "--model", "model", *flags, "-o", "out")
    assert "1 of 2 segments" in stopped.err
    listed = run("story", "show", "out").out
    assert "0-4" in listed and "5-12" in listed and "1 of 2 segments are done" in listed
    assert run("render", "--resume", "out").code == 0
    given = {0: "a.png", 4: "b.png", -1: "a.png"}
    expected = Engine.load("model").generate(
        "a red ball", images=given, frames=13, window=9, size=(32, 32), steps=2, seed=5
    )
    assert np.array_equal(Video.open("out").frames, expected.frames) and len(expected) == 13
