"""Conditions on the command line, in configurations and in repeated renders: all of it without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import Run
from tests.tiny import parts
from videogen import InputError, Video
from videogen.cli.condition_options import parse_value
from videogen.cli.parser import build_parser
from videogen.cli.settings import gather_settings
from videogen.core.files import sha256


def gather(*arguments: str) -> Any:
    return gather_settings(build_parser("0", "").parse_args(["render", *arguments])).request


def test_flags_become_conditions_and_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    request = gather(
        "a ball", "--image", "a.png", "--images", "24=b.png", "--control", "depth=d.mp4", "--reference", "r.png",
        "--strength", "0.5", "--fit", "pad", "--set", "motion_bucket_id=127", "--set", "mode=replace",
    )  # fmt: skip
    assert request.given.to_dict() == {
        "image": str(tmp_path / "a.png"), "images": {"24": str(tmp_path / "b.png")},
        "control": {"depth": str(tmp_path / "d.mp4")}, "references": [str(tmp_path / "r.png")], "strength": 0.5,
        "fit": "pad",
    }  # fmt: skip
    assert request.options == {"motion_bucket_id": 127, "mode": "replace"}


@pytest.mark.parametrize("arguments", [("--images", "-1=b.png"), ("--images=-1=b.png",)], ids=["separate", "joined"])
def test_an_image_at_a_frame_counted_from_the_end(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert gather("a ball", *arguments).given.images == {-1: str(tmp_path / "b.png")}


def test_flags_replace_single_entries_of_a_configuration(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(
        'prompt = "a"\n[conditions]\nimage = "a.png"\nfit = "pad"\n[options]\neta = 1\n', encoding="utf-8"
    )
    request = gather("--config", str(config), "--set", "mode=1", "--fit", "crop")
    assert request.given.to_dict() == {"image": str(tmp_path / "a.png")}
    assert request.options == {"eta": 1, "mode": 1}


@pytest.mark.parametrize(
    ("text", "value"), [("127", 127), ("0.5", 0.5), ("true", True), ('"1"', "1"), ("[1, 2]", [1, 2]), ("a b", "a b")]
)
def test_values_are_those_of_toml_or_text(text: str, value: Any) -> None:
    assert parse_value(text) == value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("--images", "b.png"), "--images 24=middle.png", id="an image without its frame"),
        pytest.param(("--images", "x=b.png"), "'x' is not a frame number", id="a frame by name"),
        pytest.param(("--control", "d.mp4"), "--control depth=depth.mp4", id="a control without its name"),
        pytest.param(("--set", "eta"), "--set motion_bucket_id=127", id="an option without its value"),
        pytest.param(("--fit", "stretch"), "unknown fit 'stretch'", id="stretching"),
    ],
)
def test_entries_of_another_form(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        gather("a ball", *arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda path: path.unlink(), "does not exist; restore it", id="missing"),
        pytest.param(lambda path: parts.image(32, 32, 9).save(path), "has changed since", id="changed"),
    ],
)
def test_repeating_checks_the_files(change: Any, message: str, run: Run, tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    parts.image(32, 32).save(image)
    record = {"kind": "image", "file": str(image), "sha256": sha256(image)}
    request = {"prompt": "a ball", "model": "embedded", "conditions": {"image": str(image)}}
    manifest = {"schema": 1, "request": request, "model": {}, "measured": {"conditions": [record]}}
    Video(np.zeros((2, 32, 32, 3), np.uint8), 8, manifest).save(tmp_path / "v.mp4")
    change(image)
    outcome = run("render", "--like", tmp_path / "v.mp4", "-o", "again.mp4")
    assert outcome.code == 2 and message in outcome.err and "a.png" in outcome.err, outcome.err
