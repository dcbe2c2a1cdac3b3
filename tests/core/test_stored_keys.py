"""Renamed keys of stored data: each is read under its present name, at any depth."""

from __future__ import annotations

from typing import Any

import pytest

from videogen.core.stored_keys import with_current_keys, with_earlier_keys

ROWS = {"measured.long.pieces": "segments", "shots.*.asked": "target"}


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        pytest.param({"measured": {"long": {"pieces": [1]}}}, {"measured": {"long": {"segments": [1]}}}, id="renamed"),
        pytest.param({"pieces": 1, "a": {"pieces": 2}}, {"pieces": 1, "a": {"pieces": 2}}, id="not elsewhere"),
        pytest.param({"shots": [{"asked": 1}, {"x": 2}]}, {"shots": [{"target": 1}, {"x": 2}]}, id="in a list"),
        pytest.param({"shots": {"7": {"asked": 1}}}, {"shots": {"7": {"target": 1}}}, id="under any key"),
        pytest.param(
            {"measured": {"long": {"pieces": 1, "segments": 2}}},
            {"measured": {"long": {"segments": 2}}},
            id="the present name wins",
        ),
        pytest.param([1, "x", None], [1, "x", None], id="plain values"),
    ],
)
def test_old_keys_are_read_under_their_present_names(stored: Any, read: Any) -> None:
    assert with_current_keys(stored, ROWS) == read
    if "segments" not in str(stored):  # both names at once cannot be told apart again
        assert with_earlier_keys(read, ROWS) == stored


def test_a_manifest_of_an_earlier_version_is_read() -> None:
    freeze = {"at": 0, "longest_s": 0.5, "share": 0.25}
    moving = {"shots": [{"shot": 0, "error_px": 0.1, "asked_px": 0.3}]}
    long = with_current_keys({"measured": {"long": {"motion": moving, "report": {"freeze": freeze}}}})["measured"][
        "long"
    ]
    assert long["motion"]["shots"] == [{"shot": 0, "error_px": 0.1, "target_px": 0.3}]
    assert long["report"]["freeze"] == {"at": 0, "longest_s": 0.5, "fraction": 0.25}
    settings = {"policy": "look_back", "pull": 0.2}
    manifest = {"request": {"continuity": settings}, "measured": {"long": {"continuity": settings}}}
    present = {"policy": "look_back", "mean_regularisation": 0.2}
    assert with_current_keys(manifest) == {
        "request": {"continuity": present},
        "measured": {"long": {"continuity": present}},
    }
    assert with_current_keys({"measured": {"dual_clock": {"held_steps": 2}}})["measured"]["dual_clock"] == {
        "clamped_steps": 2
    }
