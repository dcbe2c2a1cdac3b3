"""`defaults.json` of a checkpoint: two tables, the flat form of earlier versions, and invalid files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from videogen.backbones.defaults import Training, read_defaults
from videogen.backbones.registry import EMBEDDED
from videogen.core.errors import CheckpointError

LEVELS = [0.85, 0.45]


def write(folder: Path, values: Any) -> Path:
    (folder / "defaults.json").write_text(json.dumps(values), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        pytest.param(
            {"defaults": {"frames": 9}, "training": {"clean_prefix": True}},
            ({"frames": 9}, {"clean_prefix": True}),
            id="two tables",
        ),
        pytest.param({"training": {"warped_noise": True}}, ({}, {"warped_noise": True}), id="one table"),
        pytest.param(
            {"training": {"single_pass_frames": 37}}, ({}, {"single_pass_frames": 37}), id="frames in one pass"
        ),
        pytest.param({}, ({}, {}), id="nothing"),
        pytest.param(
            {"frames": 9, "dual_clock_whole": LEVELS, "motion_backend_whole": "dual_clock", "warped_noise": True},
            (
                {"frames": 9},
                {"dual_clock_global": LEVELS, "motion_backend_global": "dual_clock", "warped_noise": True},
            ),
            id="the flat form, with the old names",
        ),
    ],
)
def test_both_forms_are_read(stored: Any, read: Any, tmp_path: Path) -> None:
    assert read_defaults(write(tmp_path, stored)) == read


def test_no_file_overrides_nothing(tmp_path: Path) -> None:
    assert read_defaults(tmp_path) == ({}, {})


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param([1], id="a list"),
        pytest.param({"frames": "many"}, id="text for a number"),
        pytest.param({"frames": 0}, id="zero"),
        pytest.param({"framez": 9}, id="an unknown key"),
        pytest.param({"defaults": {"clean_prefix": True}}, id="a key of the other table"),
        pytest.param({"defaults": {}, "frames": 9}, id="both forms at once"),
        pytest.param({"training": {"dual_clock": [0.4, 0.8]}}, id="levels the wrong way round"),
        pytest.param({"training": {"motion_backend_global": "flow"}}, id="an unknown backend"),
        pytest.param({"training": 5}, id="a number for a table"),
        pytest.param({"training": {"single_pass_frames": 0}}, id="no frames in one pass"),
    ],
)
def test_a_damaged_file_is_refused(stored: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"defaults\.json contains .* fix or delete it"):
        read_defaults(write(tmp_path, stored))


def test_invalid_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "defaults.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_defaults(tmp_path)


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_embedded_models_have_both_tables(name: str) -> None:
    defaults, training = read_defaults(EMBEDDED[name])
    assert defaults["frames"] > 1 and training["clean_prefix"] and training["dual_clock_global"]


@pytest.mark.parametrize(
    ("training", "is_global", "backend", "levels"),
    [
        pytest.param(Training(), False, "dual_clock", (0.95, 0.85), id="any model"),
        pytest.param(Training(warped_noise=True), True, "warped_noise", (0.95, 0.85), id="trained with warped noise"),
        pytest.param(
            Training(warped_noise=True, motion_backend_global="dual_clock", dual_clock_global=(0.8, 0.1)),
            True, "dual_clock", (0.8, 0.1), id="global motion, with separate settings",
        ),
        pytest.param(
            Training(warped_noise=True, motion_backend_global="dual_clock", dual_clock_global=(0.8, 0.1)),
            False, "warped_noise", (0.95, 0.85), id="local motion, with separate settings",
        ),
    ],
)  # fmt: skip
def test_motion_settings_by_kind_of_motion(
    training: Training, is_global: bool, backend: str, levels: tuple[float, float]
) -> None:
    assert training.motion_backend(is_global=is_global) == backend
    assert training.dual_clock_levels(is_global=is_global) == levels
