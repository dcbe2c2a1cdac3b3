"""Noise streams: a pure function of (seed, frame), standard normal in every frame, each with the order that its name
implies."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.schedulers.noise_statistics import correlation, faults
from videogen.core.errors import InputError
from videogen.schedulers import STREAMS, AddressedNoise, NoiseSource, NoiseStream, WarpedNoise, noise_stream
from videogen.schedulers.cono.look_back import CLIPS
from videogen.schedulers.cono.noise import ConoNoise
from videogen.schedulers.noise.stream import FreeNoise

SHAPE = (4, 6, 8)
LENGTH = 24


def pan(frames: int = LENGTH, spatial: int = 2, height: int = 6, width: int = 8) -> torch.Tensor:
    """Flow of a pan over the given number of latent frames, one image each."""
    return torch.zeros(frames - 1, 2, height * spatial, width * spatial) + torch.tensor([3.0, -2.0]).view(1, 2, 1, 1)


PAN: dict[str, Any] = {"motion": pan(), "spatial": 2, "temporal": 1}
CONO: dict[str, Any] = {"frames": 9, "n1": 3, "n2": 4}
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "iid": ("iid", {}),
    "freenoise": ("freenoise", {"window": 16, "stride": 4}),
    "freenoise, a stride that does not divide": ("freenoise", {"window": 9, "stride": 4}),
    "cono": ("cono", CONO),
    "cono, refreshed": ("cono", {**CONO, "refresh": 0.4}),
    "warped": ("warped", PAN),
    "warped, from frame 2 on": ("warped", {**PAN, "offset": 2, "strength": 0.8}),
}
STREAM_ROWS = [pytest.param(name, settings, id=row) for row, (name, settings) in ROWS.items()]


def cono(seed: int = 3, **settings: Any) -> ConoNoise:
    stream = noise_stream("cono", seed, **{**CONO, **settings})
    assert isinstance(stream, ConoNoise)
    return stream


def seeds(generators: list[torch.Generator]) -> list[int]:
    return [generator.initial_seed() for generator in generators]


# --- properties of every stream


def test_every_stream_is_tested() -> None:
    assert {name for name, _ in ROWS.values()} == set(STREAMS)


@pytest.mark.parametrize(("name", "settings"), STREAM_ROWS)
def test_segments_order_and_history_change_nothing(name: str, settings: dict[str, Any]) -> None:
    low = settings.get("offset", 0)
    all_frames = noise_stream(name, 3, **settings).frames(range(low, LENGTH), SHAPE)
    assert all_frames.shape == (1, 4, LENGTH - low, 6, 8) and all_frames.dtype == torch.float32
    used = noise_stream(name, 3, **settings)
    for indices in (range(low, 10), range(10, LENGTH), [23], [22, 5, 20], [5, 5], range(19, 8, -1)):
        expected = all_frames[:, :, [frame - low for frame in indices]]
        assert torch.equal(noise_stream(name, 3, **settings).frames(list(indices), SHAPE), expected), "a new stream"
        assert torch.equal(used.frames(list(indices), SHAPE), expected), "a stream with earlier calls"


@pytest.mark.parametrize(("name", "settings"), STREAM_ROWS)
def test_a_window_is_the_noise_source_of_a_clip(name: str, settings: dict[str, Any]) -> None:
    stream = noise_stream(name, 3, **settings)
    source: NoiseSource = stream.window(range(12, 20))
    assert torch.equal(source.frames([5, 0], SHAPE), stream.frames([17, 12], SHAPE))
    overlapping = stream.window(range(15, 23))
    assert seeds(source.generators(2, 8))[3:] == seeds(overlapping.generators(2, 8))[:5], (
        "a frame draws the same noise in every window"
    )
    drawn = [seeds(source.generators(step, 4)) for step in (2, 3)]
    assert len({*drawn[0], *drawn[1]}) == 8, "and different noise at each step and frame"
    video: NoiseSource = stream
    assert seeds(video.generators(2, 20))[12:] == seeds(source.generators(2, 8))


@pytest.mark.parametrize(("name", "settings"), STREAM_ROWS)
def test_the_seed_is_part_of_every_address(name: str, settings: dict[str, Any]) -> None:
    one, other = noise_stream(name, 3, **settings), noise_stream(name, 4, **settings)
    assert abs(correlation(one.frames([20], SHAPE), other.frames([20], SHAPE))) < 0.35
    assert not set(seeds(one.generators(0, 9))) & set(seeds(other.generators(0, 9)))


def large(settings: dict[str, Any]) -> dict[str, Any]:
    return {**settings, "motion": pan(20, height=64, width=64)} if "motion" in settings else settings


@pytest.mark.parametrize("frame", [3, 19, 10_000])
@pytest.mark.parametrize(("name", "settings"), STREAM_ROWS)
def test_every_frame_is_white_and_standard_normal(name: str, settings: dict[str, Any], frame: int) -> None:
    if name == "warped" and frame > 19:
        frame = 11  # the motion has 20 latent frames
    stream = noise_stream(name, 5, **large(settings))
    assert faults(stream.frames([frame], (16, 64, 64))[0, :, 0]) == []


# --- FreeNoise


@pytest.mark.parametrize("row", ["iid", "freenoise", "freenoise, a stride that does not divide", "cono"])
def test_the_first_clip_is_the_plain_noise(row: str) -> None:
    name, settings = ROWS[row]
    assert torch.equal(
        noise_stream(name, 3, **settings).frames(range(9), SHAPE), AddressedNoise(3).frames(range(9), SHAPE)
    )


def test_iid_is_addressed_noise_bit_for_bit() -> None:
    stream, plain = noise_stream("iid", 3), AddressedNoise(3)
    assert torch.equal(stream.frames([7, 0, 99], SHAPE), plain.frames([7, 0, 99], SHAPE))
    assert seeds(stream.generators(4, 5)) == seeds(plain.generators(4, 5))


@pytest.mark.parametrize(("window", "stride"), [(16, 4), (21, 4), (16, 1), (9, 9), (5, 3), (1, 1)])
def test_freenoise_windows_have_each_noise_once_and_shuffle_locally(window: int, stride: int) -> None:
    stream = FreeNoise(3, window, stride)
    origins = [stream.origin(frame) for frame in range(8 * window)]
    assert origins[:window] == list(range(window))
    for start in range(0, 7 * window + 1, stride):
        assert sorted(origins[start : start + window]) == list(range(window)), start
    orders = []
    for start in range(window, 8 * window - stride + 1, stride):
        block, before = (origins[at : at + stride] for at in (start, start - window))
        assert sorted(block) == sorted(before), "a block is the block one window earlier, shuffled"
        orders.append(tuple(before.index(origin) for origin in block))
    assert (len(set(orders)) > 1) == (stride > 1), "each differently"
    shuffled = sum(origins[frame] != origins[frame - window] for frame in range(window, len(origins)))
    assert (shuffled > len(origins) / 4) == (stride > 1), "blocks of more than one frame are shuffled"


def test_freenoise_repeats_no_solver_noise() -> None:
    stream = FreeNoise(3, 8, 4)
    assert len(set(seeds(stream.generators(0, 64)))) == 64


# --- CoNo

REFRESH = [pytest.param(0.0, id="the paper's"), pytest.param(0.4, id="refreshed"), pytest.param(1.0, id="all new")]


@pytest.mark.parametrize("refresh", REFRESH)
@pytest.mark.parametrize("handover", [None, 3, 6])
def test_copied_frames_have_the_noise_and_solver_noise_of_their_source(refresh: float, handover: int | None) -> None:
    stream, free = cono(refresh=refresh, handover=handover), []
    for k in (0, 1, 4):
        noise = {name: stream.clip(name, k) for name in ("A", *CLIPS)}
        frames = {name: source.frames(range(9), SHAPE) for name, source in noise.items()}
        keys = {name: seeds(source.generators(2, 9)) for name, source in noise.items()}
        for clip in stream.plan.clips:
            for copy in clip.copies:
                assert torch.equal(
                    frames[clip.name][:, :, list(copy.slots)], frames[copy.source][:, :, list(copy.source_slots)]
                )
                assert [keys[clip.name][i] for i in copy.slots] == [keys[copy.source][i] for i in copy.source_slots]
            free += [keys[clip.name][i] for i in range(9) if i not in clip.copied]
    assert len(set(free)) == len(free), "and no other noise is shared"


def test_the_chain_without_refresh_is_the_permutations() -> None:
    stream = cono()
    base = stream.clip("A", 0).frames(range(9), SHAPE)
    order = list(range(9))
    for k in range(3):
        for clip in stream.plan.clips:
            order = [order[i] for i in clip.order]
            assert torch.equal(stream.clip(clip.name, k).frames(range(9), SHAPE), base[:, :, order]), (k, clip.name)


@pytest.mark.parametrize("refresh", [0.1, 0.6])
def test_refreshed_frames_retain_the_expected_correlation(refresh: float) -> None:
    shape = (16, 64, 64)
    stream = cono(refresh=refresh)
    before = {"B": stream.clip("A", 2), "M": stream.clip("B", 2), "D": stream.clip("M", 2)}
    for clip in stream.plan.clips:
        slot = next(i for i in range(9) if i not in clip.copied)
        own = stream.clip(clip.name, 2).frames([slot], shape)
        parent = before[clip.name].frames([clip.order[slot]], shape)
        assert correlation(own, parent) == pytest.approx(math.sqrt(1 - refresh**2), abs=4 / math.sqrt(own.numel()))


def test_the_frames_of_a_clip_are_independent() -> None:
    stream = cono(refresh=0.3)
    for name in ("A", *CLIPS):
        frames = stream.clip(name, 3).frames(range(9), (16, 64, 64))[0]
        flat = frames.transpose(0, 1).flatten(1)
        products = (flat @ flat.T / math.sqrt(flat.shape[1])).fill_diagonal_(0)
        assert products.abs().max() < 4.5, name


def test_the_video_has_the_noise_of_its_clips() -> None:
    stream = cono(refresh=0.3)
    for frame in range(stream.plan.length(3)):
        k, name, slot = stream.plan.place(frame)
        assert torch.equal(stream.frames([frame], SHAPE), stream.clip(name, k).frames([slot], SHAPE))
    for k in range(3):
        for name in ("M", "D"):  # complete, including the frames that neighbours share
            spanned = stream.window(stream.plan.span(name, k))
            assert torch.equal(spanned.frames(range(9), SHAPE), stream.clip(name, k).frames(range(9), SHAPE))


def test_reading_a_video_in_order_has_constant_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    monkeypatch.setattr(
        "videogen.schedulers.cono.noise.normal", lambda at, shape: (drawn.append(at), torch.zeros(shape))[1]
    )
    stream, counts = cono(refresh=0.3), []
    for k in range(12):
        drawn.clear()
        for clip in CLIPS:
            stream.clip(clip, k).frames(range(9), SHAPE)
        counts.append(len(drawn))
    assert counts[1:] == [counts[1]] * 11 and counts[1] <= 3 * 9


def test_the_noise_cache_does_not_grow() -> None:
    stream, sizes = cono(refresh=0.3), []
    for start in range(0, 240, 60):
        stream.frames(range(start, start + 60), SHAPE)
        sizes.append(len(stream._recent))
    assert sizes == [2 * len(CLIPS) * 9] * 4


# --- warped


def test_warped_noise_begins_at_its_offset() -> None:
    warped = WarpedNoise(seed=3, **PAN)
    stream = noise_stream("warped", 3, **PAN, offset=7)
    assert torch.equal(stream.frames(range(7, 27), SHAPE), warped.frames(range(20), SHAPE))
    assert seeds(stream.window([9]).generators(1, 1)) == seeds(AddressedNoise(3).generators(1, 10))[9:]


# --- names and bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(
            lambda: noise_stream("free_noise"),
            "did you mean 'freenoise'.*iid, freenoise, cono, warped",
            id="name misspelt",
        ),
        pytest.param(
            lambda: noise_stream("freenoise", 3, windows=16),
            "did you mean 'window'.*window, stride",
            id="setting misspelt",
        ),
        pytest.param(lambda: noise_stream("iid", 3, stride=4), "'stride'; known: none", id="no settings at all"),
        pytest.param(
            lambda: noise_stream("cono", 3, frames=9),
            "needs n1, n2; it takes frames, n1, n2, handover, refresh",
            id="missing",
        ),
        pytest.param(
            lambda: noise_stream("warped", 3), "'warped' needs motion; it takes motion, offset, spatial", id="no motion"
        ),
        pytest.param(
            lambda: noise_stream("warped", 3, **PAN, strenght=1), "did you mean 'strength'", id="warped noise's setting"
        ),
        pytest.param(
            lambda: noise_stream("freenoise", 3, window=4, stride=8),
            "stride=8 must be at most window=4",
            id="stride too long",
        ),
        pytest.param(lambda: noise_stream("freenoise", 3, window=0), "window=0", id="no window"),
        pytest.param(lambda: noise_stream("freenoise", 3, stride=0), "stride=0", id="no stride"),
        pytest.param(lambda: cono(refresh=1.5), "refresh=1.5 must be between 0 and 1", id="refresh out of range"),
        pytest.param(lambda: cono(n1=5), "n1=5 and n2=4 copy all of frames=9", id="numbers that do not fit"),
        pytest.param(lambda: cono().clip("C", 0), "known: A, B, M, D", id="no such clip"),
        pytest.param(lambda: noise_stream("warped", 3, **PAN, offset=-1), "offset=-1", id="offset before the video"),
        pytest.param(
            lambda: noise_stream("warped", 3, **PAN, offset=7).frames([5], SHAPE),
            "covers frames 7 to 30",
            id="before the motion",
        ),
        pytest.param(
            lambda: noise_stream("warped", 3, **PAN).frames([24], SHAPE), "covers frames 0 to 23", id="after the motion"
        ),
        pytest.param(
            lambda: noise_stream("iid", 3).window(range(4)).frames([4], SHAPE),
            "outside this window's 4",
            id="after a window",
        ),
        pytest.param(
            lambda: noise_stream("iid", 3).window(range(4)).generators(0, 5),
            "outside this window's 4",
            id="too many generators",
        ),
        pytest.param(
            lambda: noise_stream("iid", 3).window(range(4)).frames([-1], SHAPE), "frame -1", id="before a window"
        ),
        pytest.param(lambda: noise_stream("freenoise", 3).frames([-1], SHAPE), "frame=-1", id="before the video"),
        pytest.param(lambda: cono().frames([-1], SHAPE), "frame=-1", id="before a video by CoNo"),
    ],
)
def test_bad_input_is_refused_with_a_remedy(call: Callable[[], NoiseStream], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("row", ["iid", "freenoise", "cono"])
def test_only_redrawn_sources_change_their_noise(row: str) -> None:
    name, settings = ROWS[row]
    plain, redrawn = (noise_stream(name, 3, **settings) for _ in range(2))
    redrawn.redraw([redrawn.source(20)], 1)
    before, after = (stream.frames(range(18, 21), SHAPE) for stream in (plain, redrawn))
    assert torch.equal(before[:, :, :2], after[:, :, :2]) and not torch.equal(before[:, :, 2], after[:, :, 2])
    drawn = [seeds(stream.window([20]).generators(2, 1)) for stream in (plain, redrawn)]
    assert drawn[0] != drawn[1]
    redrawn.redraw([redrawn.source(20)], 0)
    assert torch.equal(redrawn.frames(range(18, 21), SHAPE), before)
