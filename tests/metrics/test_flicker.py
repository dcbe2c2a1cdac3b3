"""Flicker: none in what is steady, its size where brightness alternates."""

from __future__ import annotations

import numpy as np
import pytest

from videogen.core.errors import InputError
from videogen.metrics.flicker import flicker


def grey(*levels: float) -> np.ndarray:
    return np.stack([np.full((8, 8, 3), level, np.uint8) for level in levels])


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        pytest.param((90, 90, 90, 90), 0.0, id="still"),
        pytest.param((90, 94, 98, 102), 0.0, id="a steady fade"),
        pytest.param((90, 94, 90, 94), 8.0, id="alternating by 4 levels"),
    ],
)
def test_flicker(levels: tuple[float, ...], expected: float) -> None:
    assert flicker(grey(*levels)) == pytest.approx(expected, abs=1e-4)


def test_motion_is_no_flicker() -> None:
    frames = grey(0, 0, 0, 0)
    for number, frame in enumerate(frames):
        frame[2:4, number : number + 2] = 255
    assert flicker(frames) == pytest.approx(0, abs=1e-4)


def test_two_frames_are_too_few() -> None:
    with pytest.raises(InputError, match="at least 3"):
        flicker(grey(0, 1))
