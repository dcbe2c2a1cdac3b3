"""Windows: every frame covered, weights that sum to 1, the last one at full size, the anchor discarded, moving
seams."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from videogen.core.errors import InputError
from videogen.schedulers import Window, Windows
from videogen.schedulers.windows import SCHEDULES, WEIGHTS

LAYOUTS = [
    pytest.param((32, 16, 8, False), id="a stride that fits"),
    pytest.param((35, 16, 8, False), id="the last one shifted left"),
    pytest.param((45, 21, 8, True), id="anchored"),
    pytest.param((22, 21, 8, True), id="anchored, one frame more than a window"),
    pytest.param((17, 16, 0, False), id="no overlap, one frame more"),
    pytest.param((40, 8, 5, True), id="every frame in several windows"),
    pytest.param((30, 7, 5, False), id="overlap of more than half"),
    pytest.param((16, 16, 8, True), id="a single window"),
    pytest.param((12, 3, 0, True), id="the shortest anchored windows that can be staggered"),
]


def layout_cases(frames: int, size: int, overlap: int, anchor: bool) -> list[tuple[Windows, int]]:
    return [(Windows(frames, size, overlap, anchor, w, s), step) for w in WEIGHTS for s in SCHEDULES for step in (0, 1)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_frame_is_covered_by_full_windows(layout: tuple[int, int, int, bool]) -> None:
    frames, size, overlap, anchor = layout
    for windows, step in layout_cases(*layout):
        found = windows.at(step)
        assert found[0].start == 0 and found[-1].stop == frames and all(w.size == size for w in found)
        assert [w.anchor for w in found] == [0, *[int(anchor)] * (len(found) - 1)]
        for before, after in pairwise(found):
            assert before.start < after.start
            assert before.stop - after.first >= overlap, (
                "neighbours overlap by at least this much, not counting the anchor"
            )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_sum_to_one(layout: tuple[int, int, int, bool]) -> None:
    for windows, step in layout_cases(*layout):
        totals = [0.0] * windows.frames
        for window, weights in zip(windows.at(step), windows.weights_at(step), strict=True):
            assert weights[: window.anchor] == (0.0,) * window.anchor and all(w > 0 for w in weights[window.anchor :])
            for slot, weight in enumerate(weights):
                totals[window.start + slot] += weight
        assert totals == pytest.approx([1.0] * windows.frames, abs=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_windows_of_one_prediction_reproduce_it(layout: tuple[int, int, int, bool]) -> None:
    video = torch.randn(2, 3, layout[0], 4, 5)
    for windows, step in layout_cases(*layout):
        found, single = windows.at(step), torch.zeros(windows.frames)
        for w in found:
            single[w.first : w.stop] += 1
        parts = [video[:, :, w.slots].clone() for w in found]
        for part, w in zip(parts, found, strict=True):
            part[:, :, : w.anchor] = float("nan")  # must not be used
        fused = windows.fuse(iter(parts), step)
        assert torch.allclose(fused, video, atol=1e-6)
        assert torch.equal(fused[:, :, single == 1], video[:, :, single == 1]), (
            "bit-equal where a single window covers a frame"
        )


@pytest.mark.parametrize(
    ("windows", "found"),
    [
        pytest.param(Windows(12, 8, 4, weights="flat"), [0.5, 0.5, 0.5, 0.5], id="flat"),
        pytest.param(
            Windows(12, 8, 4, weights="triangular"),
            [7 / 8, 5 / 8, 3 / 8, 1 / 8],
            id="triangular: half minus the distance",
        ),
        pytest.param(
            Windows(12, 8, 4, weights="pyramid"), [4 / 5, 3 / 5, 2 / 5, 1 / 5], id="pyramid: 1 to 4, as FreeNoise's"
        ),
        pytest.param(Windows(12, 8, 4, weights="linear"), [0.8, 0.6, 0.4, 0.2], id="linear: a ramp over the overlap"),
        pytest.param(
            Windows(13, 9, 4, True, "linear"),
            [0.8, 0.6, 0.4, 0.2],
            id="linear, anchored: the anchor is not part of the ramp",
        ),
        pytest.param(Windows(20, 8, 2, weights="linear"), [2 / 3, 1 / 3], id="linear: weight 1 outside the overlap"),
    ],
)
def test_weights_of_the_first_window_over_its_overlap(windows: Windows, found: list[float]) -> None:
    first = windows.weights_at()[0]
    count = len(found)
    assert first[-count:] == pytest.approx(found) and first[:-count] == (1.0,) * (windows.size - count)


def test_the_first_slots_of_an_anchored_window() -> None:
    assert Windows(13, 9, 4, anchor=True).at() == (Window(0, 9), Window(4, 9, 1))
    anchored = Windows(13, 9, 4, anchor=True).at()[1]
    assert (anchored.first, anchored.stop, anchored.slots) == (5, 13, slice(4, 13))


def hard_seams(windows: Windows, step: int) -> set[int]:
    """Frames at which one window ends and the next begins, without overlap."""
    return {after.first for before, after in pairwise(windows.at(step)) if before.stop == after.first}


@pytest.mark.parametrize(
    ("layout", "seams"),
    [
        pytest.param((24, 8, 0, False), [{8, 16}, {12}], id="no overlap"),
        pytest.param((20, 8, 0, False), [{8}, {12}], id="a last window shifted left"),
        pytest.param((25, 9, 0, True), [{9, 17}, {13}], id="anchored"),
    ],
)
def test_staggered_seams_move_at_every_step(layout: tuple[int, int, int, bool], seams: list[set[int]]) -> None:
    staggered = Windows(*layout, schedule="staggered")
    assert [hard_seams(staggered, step) for step in range(4)] == seams * 2
    assert not seams[0] & seams[1]
    static = Windows(*layout, schedule="static")
    assert [static.at(step) for step in range(3)] == [staggered.at(0)] * 3


def test_dtypes_are_preserved_and_sums_are_in_single_precision() -> None:
    windows = Windows(12, 8, 4)
    video = torch.randn(1, 2, 12, 3, 3)
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        parts = [video.to(dtype)[:, :, w.slots] for w in windows.at()]
        fused = windows.fuse(parts)
        assert fused.dtype == dtype
        wide = windows.fuse([p.to(torch.promote_types(dtype, torch.float32)) for p in parts])
        assert torch.equal(fused, wide.to(dtype))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(
            lambda: Windows(5, 16, 8),
            "a clip of 5 latent frames is shorter than its window of 16; use size=5",
            id="too short",
        ),
        pytest.param(lambda: Windows(0, 16, 8), "a clip of 0 latent frames .* use size=1", id="no clip"),
        pytest.param(
            lambda: Windows(32, 16, 16), "overlap=16 .* a stride of 0, .* use overlap=15 or less", id="stride 0"
        ),
        pytest.param(lambda: Windows(32, 16, 20), "a stride of -4", id="overlap longer than a window"),
        pytest.param(
            lambda: Windows(32, 16, 15, True),
            "\\(anchor included\\) a stride of 0, .* use overlap=14",
            id="stride 0 with anchor",
        ),
        pytest.param(
            lambda: Windows(32, 16, 15, schedule="staggered"),
            "staggered ones need 2; use overlap=14",
            id="nothing to stagger",
        ),
        pytest.param(
            lambda: Windows(32, 2, 0, True, schedule="staggered"), "use size=3 or more", id="too small to stagger"
        ),
        pytest.param(lambda: Windows(32, 1, 0, True), "size=1 must be at least 2", id="nothing but an anchor"),
        pytest.param(lambda: Windows(32, 0, 0), "size=0 must be at least 1", id="empty window"),
        pytest.param(lambda: Windows(32, 16, -1), "overlap=-1 must be at least 0", id="negative overlap"),
        pytest.param(
            lambda: Windows(32, 16, 8, weights="triangle"), "did you mean 'triangular'", id="weights misspelt"
        ),
        pytest.param(lambda: Windows(32, 16, 8, schedule="looped"), "known: static, staggered", id="unknown schedule"),
        pytest.param(lambda: Windows(24, 16, 8).fuse([]), "step 0 has 2 windows, not 0", id="no predictions"),
        pytest.param(
            lambda: Windows(24, 16, 8).fuse([torch.zeros(1, 1, 16, 2, 2)]),
            "2 windows, not 1",
            id="one prediction too few",
        ),
        pytest.param(
            lambda: Windows(24, 16, 8).fuse([torch.zeros(1, 1, 16, 2, 2)] * 3, 1),
            "step 1 .* not 3",
            id="one prediction too many",
        ),
        pytest.param(
            lambda: Windows(24, 16, 8).fuse([torch.zeros(1, 1, 15, 2, 2)] * 2),
            "window 1 has 15 frames",
            id="a prediction too short",
        ),
    ],
)
def test_bad_input_is_refused_with_a_remedy(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
