"""Seams, drift, repetition and freezing: each metric detects its own defect, and reports none on clean clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from tools.world import Scene, Thing, render
from videogen import InputError
from videogen.metrics.drift import Drift, Interval, describe, drift, merge_intervals, theil_sen
from videogen.metrics.frame_statistics import lab, luma, sharpness
from videogen.metrics.freeze import Freeze, changes, dynamic, freeze
from videogen.metrics.long_clip import LongClip, LongClipReport
from videogen.metrics.repetition import repetition, similarity, thumbnails
from videogen.metrics.seams import Seam, reach, seam, seams

WINDOW = 32


@lru_cache
def clip(
    motion: str = "moves right",
    ground: str = "checkered",
    seed: int = 1,
    camera: str | None = None,
    stride: float = 0.25,
) -> np.ndarray:
    """A clean clip of 96 frames: one object over a background, slow enough to stay in the frame."""
    scene = Scene((Thing("square", "red", motion, "slowly"),), ground, camera, seed)
    return render(scene, 96, 48, stride=stride).frames


CLEAN = [
    pytest.param(("moves right", "checkered", 1), id="right over squares"),
    pytest.param(("moves up", "black", 2), id="up over black"),
    pytest.param(("moves in a circle", "noisy", 3), id="in a circle"),
    pytest.param(("grows", "striped", 4), id="grows"),
    pytest.param(("stays still", "noisy", 5, "pans left"), id="camera pans"),
    pytest.param(("stays still", "checkered", 6, "zooms in"), id="camera zooms"),
    pytest.param(("stays still", "navy", 7), id="still"),
]


@pytest.mark.parametrize("scene", CLEAN)
def test_a_clip_without_joins_has_no_seams(scene: tuple[Any, ...]) -> None:
    frames = clip(*scene)
    for found in seams(frames, range(reach(), 96 - reach(), 5)):
        assert found.faults() == (), found


def cut(frames: np.ndarray) -> np.ndarray:
    return np.concatenate([frames[:48], clip("moves left", "brown", 9)[48:]])


def jump(frames: np.ndarray) -> np.ndarray:
    return np.concatenate([frames[:48], frames[56:]])


def stall(frames: np.ndarray) -> np.ndarray:
    return np.concatenate([frames[:48], frames[47:-1]])


def flash(frames: np.ndarray) -> np.ndarray:
    return np.concatenate(
        [frames[:48], np.clip(frames[48:].astype(int) + np.array([6, 0, 0]), 0, 255).astype(np.uint8)]
    )


def blur(frames: np.ndarray) -> np.ndarray:
    wide = frames[48:].astype(float)
    return np.concatenate([frames[:48], ((wide + np.roll(wide, 1, 2) + np.roll(wide, -1, 2)) / 3).astype(np.uint8)])


def speed(frames: np.ndarray) -> np.ndarray:
    return np.concatenate([frames[:48], frames[48::6]])


DEFECTS = [
    pytest.param(cut, {"jump", "jerk", "colour", "sharpness"}, id="hard cut"),
    pytest.param(jump, {"jump"}, id="eight frames missing"),
    pytest.param(flash, {"jump", "colour"}, id="a colour step"),
    pytest.param(blur, {"sharpness"}, id="blurred after it"),
    pytest.param(stall, {"stall"}, id="a frame twice"),
    pytest.param(speed, {"pace"}, id="six times as fast after it"),
]


@pytest.mark.parametrize(("damage", "faults"), DEFECTS)
def test_a_seam_has_its_defect_at_the_join(damage: Callable[[np.ndarray], np.ndarray], faults: set[str]) -> None:
    frames = damage(clip(stride=0.5))
    assert faults <= set(seam(frames, 48).faults())
    assert all(seam(frames, at).faults() == () for at in (16, 30))


def test_the_values_of_a_seam() -> None:
    gray = np.repeat(np.array([10, 12, 14, 16, 18, 30, 32, 34, 36, 38], np.uint8), 5 * 5 * 3).reshape(10, 5, 5, 3)
    found = seam(gray, 5)
    assert (found.frame, found.ratio, found.jerk, found.pace, found.sharpness) == (
        5,
        6,
        40,
        1,
        1,
    )  # steps 2 and 12; bends 0 and 10
    assert found.colour_de == pytest.approx(
        lab(gray[5:9])[..., 0].mean() - lab(gray[1:5])[..., 0].mean(), rel=1e-3
    )  # greys: only L* differs
    assert seam(gray[:, ::-1], 5) == found and seam(np.full((20, 4, 4, 3), 7, np.uint8), 9) == Seam(9, 1, 1, 1, 0, 1)


def add_decoder_period(frames: np.ndarray, frames_per_latent: int) -> np.ndarray:
    """As from a decoder with a characteristic pattern within the frames of each latent."""
    grain = np.random.default_rng(0).integers(-2, 3, (len(frames) // frames_per_latent + 1, *frames.shape[1:]))
    return np.clip(frames.astype(int) + np.repeat(grain, frames_per_latent, 0)[: len(frames)], 0, 255).astype(np.uint8)


@pytest.mark.parametrize("frames_per_latent", [4, 8])
def test_the_period_of_a_decoder_is_not_a_seam(frames_per_latent: int) -> None:
    joins = range(24, 80, 8)
    frames = add_decoder_period(clip(), frames_per_latent)
    assert all("jump" in found.faults() for found in seams(frames, joins))
    assert all(found.faults() == () for found in seams(frames, joins, frames_per_latent))
    damaged = add_decoder_period(cut(clip()), frames_per_latent)
    assert {"jump", "colour"} <= set(seam(damaged, 48, frames_per_latent).faults()) and seam(
        damaged, 72, frames_per_latent
    ).faults() == ()
    meter = LongClip(fps=16, window=WINDOW, frames_per_latent=frames_per_latent)
    for start in range(0, 96, 24):
        meter.add(damaged[start : start + 24])
    assert [found == seam(damaged, found.frame, frames_per_latent) for found in meter.report().seams] == [True] * 3
    assert {name.split()[-1] for name in meter.report().faults() if " at " in name} == {"48"}


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((255, 255, 255), (100, 0, 0)), ((0, 0, 0), (0, 0, 0)), ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),        ((119, 119, 119), (50.03, 0, 0)), ((1, 1, 1), (0.27, 0, 0)),
    ],
)  # fmt: skip
def test_lab_of_known_colours(colour: tuple[int, int, int], expected: tuple[float, float, float]) -> None:
    assert lab(np.array(colour, np.uint8)) == pytest.approx(expected, abs=0.02)


CIRCLE, STILL = "moves in a circle", "stays still"
STEADY = [(CIRCLE, "checkered", 1), (STILL, "noisy", 2), (STILL, "striped", 3), (CIRCLE, "gray", 4)]


def trend(frames: np.ndarray, parts: int = 8) -> Drift:
    return drift([describe(part) for part in np.split(frames, parts)], seconds=6)


def ramp(frames: np.ndarray, low: float, high: float, change: Callable[[np.ndarray, float], np.ndarray]) -> np.ndarray:
    amounts = np.linspace(low, high, len(frames))
    return np.stack(
        [
            np.clip(np.rint(change(f.astype(float), a)), 0, 255).astype(np.uint8)
            for f, a in zip(frames, amounts, strict=True)
        ]
    )


def soften(frame: np.ndarray, amount: float) -> np.ndarray:
    return frame + amount * (
        (np.roll(frame, 1, 1) + np.roll(frame, -1, 1) + np.roll(frame, 1, 0) + np.roll(frame, -1, 0)) / 4 - frame
    )


RAMPS = [
    pytest.param(lambda f: f, set(), id="clean"),
    pytest.param(lambda f: ramp(f, 0, 25, lambda x, a: x + a * np.array([1, 0.4, 0])), {"colour"}, id="reddens"),
    pytest.param(lambda f: ramp(f, 1, 1.6, lambda x, a: (x - 100) * a + 100), {"contrast"}, id="gains contrast"),
    pytest.param(lambda f: ramp(f, 0, 0.9, soften), {"sharpness"}, id="blurs"),
    pytest.param(lambda f: ramp(f, 0, 220, lambda x, a: x + a), {"colour", "clipped"}, id="over-exposed"),
]


@pytest.mark.parametrize("scene", STEADY)
@pytest.mark.parametrize(("damage", "faults"), RAMPS)
def test_drift_names_the_drifting_property(
    damage: Callable[[np.ndarray], np.ndarray], faults: set[str], scene: tuple[str, str, int]
) -> None:
    found = set(trend(damage(clip(*scene))).faults())
    assert found >= faults and (faults or not found)


def test_the_values_of_a_drift() -> None:
    segments = [Interval((10.0 + 3 * i, 4.0 * i, 0.0), 2.0 * i, 10 * 2.0**i, 0.01 * i, 8.0 / 2**i) for i in range(4)]
    found = drift(segments, seconds=30)
    assert astuple(found) == pytest.approx((15, 8, 1 / 8, 6, 0.03, 15, 30))
    assert found.faults() == ("colour", "contrast", "sharpness")
    outlier = [*segments[:2], Interval((90.0, 9.0, 9.0), 0.0, 1.0, 1.0, 900.0), *segments[3:]]
    assert drift(outlier, seconds=30).colour_de < 40  # a mean slope would be far larger


def test_theil_sen_is_the_median_slope() -> None:
    assert (
        theil_sen(np.array([0.0, 1, 2, 3, 40])) == 1
        and theil_sen(np.array([5.0, 5, 5])) == 0
        and theil_sen(np.array([3.0, 1])) == -2
    )


def test_merged_intervals_equal_the_interval() -> None:
    frames = clip()[:20]
    expected, parts = describe(frames), merge_intervals([(describe(frames[:13]), 13), (describe(frames[13:]), 7)])
    assert parts.lab == pytest.approx(expected.lab) and (parts.sharpness, parts.chroma) == pytest.approx(
        (expected.sharpness, expected.chroma)
    )
    half = np.zeros((2, 4, 4, 3), np.uint8)
    half[:, :2] = 200
    assert (
        describe(half).contrast == pytest.approx(100, rel=1e-5)
        and describe(half).clipped == 0.5
        and describe(half).chroma < 0.1
    )


@pytest.mark.parametrize(
    "scene",
    [("moves right", "checkered", 1), ("moves up", "black", 2), (STILL, "noisy", 5, "pans left"), (STILL, "navy", 7)],
)
def test_a_continuous_clip_does_not_repeat(scene: tuple[Any, ...]) -> None:
    found = repetition(thumbnails(clip(*scene)), WINDOW)
    assert found.faults() == () and found.frames == WINDOW // 2


@pytest.mark.parametrize("period", [32, 41])
@pytest.mark.parametrize("grain", [0, 3], ids=["the same", "with grain"])
def test_a_looped_clip_repeats_at_the_loop(period: int, grain: int) -> None:
    frames = np.concatenate([clip()[:period]] * 3)[:96].astype(int)
    noisy = np.clip(frames + np.random.default_rng(0).normal(0, grain, frames.shape), 0, 255).astype(np.uint8)
    found = repetition(thumbnails(noisy), WINDOW)
    assert found.faults() == ("repeats",) and (found.second - found.first) % period == 0 and found.similarity <= 1


def test_an_orbit_repeats_and_long_clips_are_subsampled() -> None:
    orbit = render(Scene((Thing("ball", "red", "moves in a circle"),), "black", None, 3), 96, 48).frames
    assert repetition(thumbnails(orbit), WINDOW).similarity > 0.99
    values = np.random.default_rng(0).uniform(0, 255, (1500, 30)).astype(np.float32)
    twice = np.repeat(np.concatenate([values, values]), 1, axis=0)
    found = repetition(twice, 100)
    assert found.similarity > 0.99 and found.second - found.first == 1500 and found.first % 2 == 0
    assert abs(repetition(np.random.default_rng(1).uniform(0, 255, (1500, 30)), 100).similarity) < 0.5


def test_thumbnails_are_means() -> None:
    frame = np.zeros((1, 24, 36, 3), np.uint8)
    frame[:, :2, 3:6, 1] = 90
    small = thumbnails(frame).reshape(12, 12, 3)
    assert small.shape == (12, 12, 3) and small[0, 1].tolist() == [0, 90, 0] and small.sum() == 90
    flat = thumbnails(np.full((2, 5, 31, 3), 77, np.uint8))
    assert flat.shape == (2, 5 * 12 * 3) and (flat == 77).all()


@pytest.mark.parametrize("scene", [c for c in CLEAN if c.id != "still"])
def test_a_moving_clip_is_not_frozen(scene: tuple[Any, ...]) -> None:
    motion, ground, seed, *camera = scene
    assert freeze(changes(clip(motion, ground, seed, *(camera or [None]), stride=1.0)[:33]), 16).faults() == ()


FROZEN = [
    pytest.param(lambda f: np.concatenate([f[:60], np.repeat(f[60:61], 36, 0)]), ("stops",), 60, id="stops"),
    pytest.param(lambda f: np.repeat(f[:1], 96, 0), ("stops", "still"), 0, id="never moves"),
    pytest.param(
        lambda f: np.concatenate([f[:30], np.repeat(f[30:31], 8, 0), f[30:88]]), (), 30, id="freezes for half a second"
    ),
]


@pytest.mark.parametrize("grain", [0, 0.3], ids=["exactly", "with grain"])
@pytest.mark.parametrize(("damage", "faults", "at"), FROZEN)
def test_a_frozen_clip(
    damage: Callable[[np.ndarray], np.ndarray], faults: tuple[str, ...], at: int, grain: float
) -> None:
    frames = damage(clip("moves right", "black", 2)).astype(float)
    noisy = np.clip(np.rint(frames + np.random.default_rng(0).normal(0, grain, frames.shape)), 0, 255).astype(np.uint8)
    found = freeze(changes(noisy), 16)
    assert found.faults() == faults and found.at == at


def test_the_values_of_a_freeze() -> None:
    found = freeze(np.array([9, 1, 1, 9, 0, 0, 1, 9.0]), fps=2)
    assert (found.fraction, found.longest_s, found.at) == (5 / 8, 1.5, 4) and found.faults() == ("stops", "still")
    frames = np.zeros((2, 10, 10, 3), np.uint8)
    frames[1, 0, :5, 2] = (200, 100, 0, 0, 50)
    assert changes(frames).tolist() == [70]


def test_the_dynamic_rule_scales_with_size_and_rate() -> None:
    assert dynamic(np.array([7.0] * 4 + [0] * 11), height=256, width=400, fps=8)
    assert not dynamic(np.array([7.0] * 3 + [0] * 12), height=256, width=400, fps=8)
    assert not dynamic(np.full(15, 5.9), height=256, width=400, fps=8) and dynamic(
        np.full(15, 3.1), height=256, width=400, fps=16
    )
    assert dynamic(np.full(15, 1.6), height=64, width=64, fps=8)


def measure_in_parts(frames: np.ndarray, sizes: tuple[int, ...], joins: bool = True) -> tuple[LongClip, list[Seam]]:
    meter, found, start, turn = LongClip(fps=16, window=WINDOW), [], 0, 0
    while start < len(frames):
        size = sizes[turn % len(sizes)]
        found += meter.add(frames[start : start + size], joins=joins)
        start, turn = start + size, turn + 1
    return meter, found


@pytest.mark.parametrize("sizes", [(32,), (48, 1, 7, 40), (5,), (96,)])
def test_metrics_by_segment_equal_those_of_the_entire_clip(sizes: tuple[int, ...]) -> None:
    frames = cut(clip())
    meter, found = measure_in_parts(frames, sizes)
    report = meter.report()
    assert report.frames == 96 and report.freeze == freeze(changes(frames), 16)
    assert report.repetition == repetition(thumbnails(frames), WINDOW)
    expected = drift([describe(part) for part in np.split(frames, 6)], 6)
    assert (
        report.drift is not None
        and report.drift.colour_de == pytest.approx(expected.colour_de)
        and report.drift.faults() == expected.faults()
    )
    places = [at for at in np.cumsum(np.resize(sizes, 96)).tolist() if 4 <= at <= 92]
    assert [s.frame for s in report.seams] == places
    assert list(report.seams[: len(found)]) == found == [s for s in report.seams if s.frame <= 88]
    assert all(s == seam(frames, s.frame) for s in report.seams if s.frame >= reach())
    assert ("jump at 48" in report.faults()) == (48 in places)
    assert report == meter.report() and report.to_dict()["faults"] == report.faults()


def test_a_meter_stores_few_frames_and_handles_cuts() -> None:
    meter, _ = measure_in_parts(clip(), (24,), joins=False)
    assert meter.report().seams == () and meter.report().median_ratio is None and meter.report().faults() == ()
    assert meter._recent is not None and len(meter._recent) == reach()
    meter, _ = measure_in_parts(clip(), (24,))
    assert meter.report().median_ratio == pytest.approx(1, abs=0.1)
    short = LongClip(fps=16, window=WINDOW)
    short.add(clip()[:20])
    assert (short.report().drift, short.report().repetition) == (None, None)


def faults_after(first: np.ndarray, after: np.ndarray, **options: bool) -> tuple[str, ...]:
    meter = LongClip(fps=16, window=WINDOW)
    meter.add(first)
    return meter.faults_of_next(after, **options)


@pytest.mark.parametrize("scene", [(STILL, "noisy", 5, "pans left"), ("moves right", "checkered", 1)])
def test_a_good_continuation_has_no_faults(scene: tuple[Any, ...]) -> None:
    frames = clip(*scene)
    assert faults_after(frames[:64], frames[64:]) == () and faults_after(frames[:8], frames[8:16]) == ()


@pytest.mark.parametrize("scene", STEADY)
@pytest.mark.parametrize(("damage", "faults"), RAMPS[1:])
def test_drift_of_the_next_frames_is_predicted(
    damage: Callable[[np.ndarray], np.ndarray], faults: set[str], scene: tuple[str, str, int]
) -> None:
    frames = damage(clip(*scene))
    assert {f"{name} drifts" for name in faults} <= set(faults_after(frames[:64], frames[80:]))
    assert not any("drifts" in fault for fault in faults_after(frames[:64], frames[80:], same_shot=False))


@pytest.mark.parametrize("back", [32, 40, 60])
def test_repetition_by_the_next_frames_is_predicted(back: int) -> None:
    frames = clip("moves right", "checkered", 1)
    assert "repeats" in faults_after(frames[:80], frames[80 - back : 96 - back])
    assert "repeats" not in faults_after(frames[:80], frames[80:96])


def test_similarity_equals_that_of_the_repetition() -> None:
    values = np.random.default_rng(0).uniform(0, 255, (90, 30))
    values[70:] = values[20:40] + np.random.default_rng(1).normal(0, 40, (20, 30))
    expected = repetition(values, 40)
    assert (expected.first, expected.second, expected.frames) == (20, 70, 20)
    assert similarity(values[:70], values[70:], 40) == pytest.approx(expected.similarity)
    assert similarity(values[:10], values[70:], 40) == -1 and similarity(values[:70], values[:0], 40) == -1


CLIP = np.zeros((20, 8, 8, 3), np.uint8)
BAD = [
    pytest.param(
        lambda: seam(CLIP, 3), "a join at frame 3 of 20 cannot be evaluated; it needs 4", id="join at the start"
    ),
    pytest.param(lambda: seam(CLIP, 17), "a join at frame 17 of 20", id="join at the end"),
    pytest.param(lambda: seam(CLIP, 8, 8), "it needs 9 frames on either side", id="join within one latent"),
    pytest.param(
        lambda: seam(CLIP.astype(float), 9), r"must be uint8 .* these are float64 \[20, 8, 8, 3\]", id="floats"
    ),
    pytest.param(lambda: describe(CLIP[..., :2]), "must be uint8", id="two channels"),
    pytest.param(lambda: describe(CLIP[:0]), "0 frames are too few", id="no frame"),
    pytest.param(lambda: changes(CLIP[:, :2]), "of 3x3 px or more", id="too small"),
    pytest.param(lambda: thumbnails([1, 2]), "these are list", id="a list"),  # type: ignore[arg-type]
    pytest.param(lambda: drift([describe(CLIP)] * 2, 3), "2 intervals show no trend", id="two segments"),
    pytest.param(lambda: drift([describe(CLIP)] * 3, 0), "seconds=0 must be above 0", id="zero seconds"),
    pytest.param(
        lambda: repetition(thumbnails(CLIP), 14),
        "20 thumbnails show no repetition beyond a window of 14",
        id="short clip",
    ),
    pytest.param(lambda: repetition(thumbnails(CLIP), 1), "beyond a window of 1", id="window of one"),
    pytest.param(lambda: freeze(np.array([]), 16), "0 pairs of frames", id="one frame"),
    pytest.param(lambda: freeze(np.zeros(3), 0), "at fps=0", id="zero fps"),
    pytest.param(lambda: dynamic(np.array([]), height=8, width=8, fps=8), "without pairs", id="no flow"),
    pytest.param(lambda: LongClip(fps=0, window=33), "fps=0, window=33, frames_per_latent=1", id="meter without fps"),
    pytest.param(lambda: LongClip(fps=16, window=9).report(), "0 frames cannot be evaluated", id="empty meter"),
    pytest.param(
        lambda: [m := LongClip(fps=16, window=9), m.add(CLIP), m.add(CLIP[:, :4])],
        "need one size",
        id="two sizes",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_refusals(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_brightness_and_sharpness() -> None:
    assert luma(np.array([[[100, 100, 100], [0, 255, 0]]], np.uint8)).tolist() == [
        [pytest.approx(100), pytest.approx(0.7152 * 255)]
    ]
    board = np.indices((8, 8)).sum(0) % 2 * 10
    assert sharpness(np.repeat(board[None, ..., None], 3, -1).astype(np.uint8))[0] == pytest.approx(40**2)


@pytest.mark.parametrize(
    ("frames", "frames_per_latent", "found"),
    [
        pytest.param([8, 12, 16], 4, [3.0], id="a cross-fade is one seam, with its largest ratio"),
        pytest.param([8, 16, 24], 4, [1.0, 3.0, 2.0], id="two latents apart: separate seams"),
        pytest.param([24, 8, 12], 4, [3.0, 1.0], id="in order of the frames"),
    ],
)
def test_joins_within_one_latent_are_one_seam(frames: list[int], frames_per_latent: int, found: list[float]) -> None:
    seams = tuple(Seam(at, ratio, 1, 1, 0, 1) for at, ratio in zip(frames, (1.0, 3.0, 2.0), strict=True))
    report = LongClipReport(40, seams, Freeze(0, 0, 0), None, None, frames_per_latent)
    assert report.ratios == found and report.median_ratio == pytest.approx(float(np.median(found)))


def test_the_colours_at_the_start_of_a_shot_are_not_drift() -> None:
    dark, bright = (np.full((48, 16, 16, 3), level, np.uint8) for level in (40, 200))
    marked, unmarked = LongClip(fps=8, window=8), LongClip(fps=8, window=8)
    for meter in (marked, unmarked):
        meter.add(dark)
    marked.add(bright, begins=True)
    unmarked.add(bright)
    assert (
        marked.report().drift or Drift(9, 1, 1, 0, 0, 9, 9)
    ).colour_de < 0.1 and unmarked.report().drift.colour_de > 5  # type: ignore[union-attr]


def test_the_memory_for_a_very_long_clip_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report is coarser and still finds a loop."""
    monkeypatch.setattr("videogen.metrics.long_clip._MOST_THUMBNAILS", 64)
    monkeypatch.setattr("videogen.metrics.long_clip._MOST_INTERVALS", 4)
    meter = LongClip(fps=8, window=16)
    rng = np.random.default_rng(0)
    part = rng.integers(0, 255, (100, 4, 4, 3), dtype=np.uint8).repeat(3, 1).repeat(3, 2)
    for clip in (part, part):
        for start in range(0, 100, 7):
            meter.add(clip[start : start + 7])
    report = meter.report()
    assert len(meter._thumbnails) <= 64 and len(meter._intervals) < 4 and meter._every == 4
    assert report.repetition is not None and report.repetition.similarity > 0.99
    assert report.repetition.second - report.repetition.first == 100 and report.drift is not None
