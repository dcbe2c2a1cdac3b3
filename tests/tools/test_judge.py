"""The judge is accurate on the world's own clips, at chance on decoys, and finds no object in empty frames."""

from __future__ import annotations

import numpy as np
import pytest

from tools.evaluate_embedded import validate_judge, wilson
from tools.judge import judge


@pytest.mark.parametrize("clips", [18, pytest.param(72, marks=pytest.mark.slow)])
def test_the_judge_is_accurate_on_known_clips_and_at_chance_on_decoys(clips: int) -> None:
    for figures in validate_judge(count=clips).values():
        assert min(figures[name] for name in ("colour", "shape", "motion")) >= 0.98
        assert figures["decoy colour"] < 0.3 and figures["decoy shape"] < 0.45 and figures["decoy motion"] < 0.3


def test_an_empty_frame_has_no_object() -> None:
    verdict = judge(np.full((9, 64, 64, 3), 8, np.uint8))
    assert (verdict.colour, verdict.shape, verdict.motion) == (None, None, None)


def test_the_wilson_interval_contains_the_fraction_and_narrows() -> None:
    low, high = wilson(0.9, 128)
    assert low < 0.9 < high and high - low < 0.12
    assert wilson(1.0, 10)[1] == 1.0 and wilson(0.0, 10)[0] == 0.0
