"""Several clips per call: prompts x seeds, batches that fit the memory, and what is then bit for bit as alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tests.contract.families import wan
from videogen import Engine, InputError, OutOfMemoryError, Progress, RenderRequest, Technique, Video
from videogen.engine.batches import CPU_BATCH, check_equal_settings
from videogen.engine.options import build_requests
from videogen.engine.seeds import SEED_OPTIONS
from videogen.sampling.loop import LoopState

PROMPT, OTHER = "a red ball", "a blue square"
CLIP: dict[str, Any] = {"frames": 5, "size": (32, 32), "steps": 2}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("batches") / "wan"
    wan(folder)
    return Engine.load(str(folder), device="cpu")


class Memory(Technique):
    """A device that holds so many clips. sizes: of the batches that began."""

    def __init__(self, holds: int) -> None:
        self.holds, self.sizes = holds, list[int]()

    def start(self, state: LoopState) -> LoopState:
        self.sizes.append(state.latents.shape[0])
        if state.latents.shape[0] > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return state


def identities(videos: list[Video]) -> list[tuple[str, int]]:
    requests: list[Any] = [dict(video.manifest or {})["request"] for video in videos]
    return [(request["prompt"], request["seed"]) for request in requests]


def batch_of(video: Video) -> dict[str, Any]:
    assert video.manifest is not None
    return dict(video.manifest["measured"].get("batch", {}))


@pytest.mark.parametrize(
    ("prompts", "options", "expected"),
    [
        pytest.param(PROMPT, {"seeds": [1, 2, 7]}, [(PROMPT, 1), (PROMPT, 2), (PROMPT, 7)], id="one prompt"),
        pytest.param(
            [PROMPT, OTHER], {"seeds": (3, 1)}, [(PROMPT, 3), (PROMPT, 1), (OTHER, 3), (OTHER, 1)], id="in prompt order"
        ),
        pytest.param(PROMPT, {"count": 2}, [(PROMPT, 0), (PROMPT, 1)], id="from the default seed on"),
        pytest.param(PROMPT, {"count": 2, "seed": 5}, [(PROMPT, 5), (PROMPT, 6)], id="from a seed on"),
        pytest.param([PROMPT, OTHER], {"count": 1, "seed": 5}, [(PROMPT, 5), (OTHER, 5)], id="each prompt, one seed"),
        pytest.param(PROMPT, {"seeds": np.array([4, 2])}, [(PROMPT, 4), (PROMPT, 2)], id="an array"),
        pytest.param(PROMPT, {"seeds": range(2)}, [(PROMPT, 0), (PROMPT, 1)], id="a range"),
        pytest.param([PROMPT, OTHER], {"seeds": None, "count": None}, [(PROMPT, 0), (OTHER, 1)], id="neither"),
    ],
)
def test_each_prompt_is_rendered_with_each_seed(prompts: Any, options: dict[str, Any], expected: list[Any]) -> None:
    assert [(request.prompt, request.seed) for request in build_requests(prompts, options)] == expected


def test_a_first_seed_of_none_is_drawn_once() -> None:
    found = build_requests([PROMPT, OTHER], {"count": 2, "seed": None})
    seeds = [request.seed for request in found]
    assert seeds[:2] == seeds[2:] and seeds[0] is not None and seeds[1] == seeds[0] + 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"seeds": [1, 2, 1]}, r"seeds=\[1, 2, 1\] has 1 twice.*once", id="a seed twice"),
        pytest.param({"seeds": []}, r"seeds=\[\] has no seed", id="no seed"),
        pytest.param({"seeds": 4}, r"seeds=4 must be a list.*seed=4", id="a number"),
        pytest.param({"seeds": [1, None]}, r"has None; seed=None with count=2", id="None among them"),
        pytest.param({"seeds": [1, "x"]}, "seed='x' must be int", id="a text among them"),
        pytest.param({"seeds": [-1]}, "seed=-1 must be from 0", id="below 0"),
        pytest.param({"seeds": [1], "count": 2}, "give one of them", id="seeds and count"),
        pytest.param({"seeds": [1], "seed": 2}, "leave seed out", id="seed and seeds"),
        pytest.param({"count": 0}, "count=0 must be a whole number of at least 1", id="count 0"),
        pytest.param({"count": 1.5}, "count=1.5 must be a whole number", id="a fraction of a clip"),
        pytest.param({"count": 2, "seed": [1, 2]}, "give one number", id="count and a seed per prompt"),
        pytest.param({"sedes": [1]}, "did you mean 'seeds'", id="a typo"),
    ],
)
def test_seeds_that_are_wrong_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_requests([PROMPT, OTHER], options)


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "x"])
def test_batch_sizes_that_are_wrong_are_named(size: Any, engine: Engine) -> None:
    with pytest.raises(InputError, match="batch_size="):
        engine.generate(PROMPT, count=2, batch_size=size, **CLIP)


def test_a_list_is_returned_wherever_several_seeds_can_be_given(engine: Engine) -> None:
    assert isinstance(engine.generate(PROMPT, **CLIP), Video)
    for options in ({"seeds": [4]}, {"count": 1, "seed": 4}):
        (video,) = engine.generate(PROMPT, **options, **CLIP)  # type: ignore[call-overload]
        assert video == engine.generate(PROMPT, seed=4, **CLIP)
    assert SEED_OPTIONS == ("seeds", "count")


def test_each_clip_is_that_of_its_prompt_and_seed(engine: Engine) -> None:
    """Bit for bit where it is rendered alone, up to rounding in a batch."""
    alone = [engine.generate(prompt, seed=seed, **CLIP) for prompt in (PROMPT, OTHER) for seed in (1, 7)]
    one_by_one = engine.generate([PROMPT, OTHER], seeds=[1, 7], batch_size=1, **CLIP)
    batched = engine.generate([PROMPT, OTHER], seeds=[1, 7], batch_size=3, **CLIP)
    assert one_by_one == alone and not any(batch_of(video) for video in one_by_one)
    assert identities(one_by_one) == identities(batched) == identities(alone)
    for video, other in zip(batched, alone, strict=True):
        assert np.abs(video.frames.astype(int) - other.frames).max() <= 1
    assert [batch_of(video).get("size") for video in batched] == [3, 3, 3, None]
    assert batch_of(batched[1]) == {"size": 3, "index": 1, "exact": ["noise", "timesteps"]}


def test_a_list_of_prompts_is_one_batch_and_several_seeds_are_batches_of_the_measured_size(engine: Engine) -> None:
    assert [batch_of(video)["size"] for video in engine.generate([PROMPT] * 3, **CLIP)] == [3, 3, 3]
    sizes = [batch_of(video).get("size", 1) for video in engine.generate(PROMPT, count=CPU_BATCH + 1, **CLIP)]
    assert sizes == [CPU_BATCH] * CPU_BATCH + [1]


def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_rendered_twice(engine: Engine) -> None:
    memory = Memory(holds=2)
    videos = engine.generate([PROMPT] * 5, techniques=[memory], **CLIP)
    assert memory.sizes == [5, 2, 2, 1]
    assert identities(videos) == [(PROMPT, seed) for seed in range(5)]


def test_memory_that_runs_out_later_keeps_the_clips_that_are_finished(engine: Engine) -> None:
    memory, found = Memory(holds=4), []
    requests = [RenderRequest(PROMPT, frames=5, width=32, height=32, steps=2, seed=seed) for seed in range(8)]

    def on_progress(progress: Progress) -> None:
        if progress.clips.start == 4:
            memory.holds = 1

    for video in engine._render(requests, [memory], on_progress, batch_size=None, all_at_once=False):
        found.append(video)
    assert identities(found) == [(PROMPT, seed) for seed in range(8)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param({"batch_size": 4}, "4 clips at once: .*batch_size of at most 2", id="a batch size"),
        pytest.param({}, "out of memory at denoise", id="a single clip does not fit"),
    ],
)
def test_memory_that_cannot_be_found_is_an_error(call: dict[str, Any], message: str, engine: Engine) -> None:
    with pytest.raises(OutOfMemoryError, match=message):
        engine.generate(PROMPT, count=4, techniques=[Memory(holds=1 if call else 0)], **call, **CLIP)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"propagate": "max_error:0.1"}, id="key steps from the content"),
        pytest.param({"frames": 13, "window": 9, "continuity": "overlap"}, id="long videos"),
    ],
)
def test_clips_that_would_depend_on_the_others_are_rendered_alone(options: dict[str, Any], engine: Engine) -> None:
    videos = engine.generate([PROMPT, OTHER], seed=3, **{**CLIP, **options})
    assert not any(batch_of(video) for video in videos)
    assert videos[1] == engine.generate(OTHER, seed=4, **{**CLIP, **options})


def test_progress_says_which_clips_are_rendered(engine: Engine) -> None:
    reports: list[tuple[range, int]] = []
    engine.generate(
        PROMPT, count=3, batch_size=2, progress=lambda found: reports.append((found.clips, found.clip_count)), **CLIP
    )
    assert list(dict.fromkeys(reports)) == [(range(2), 3), (range(2, 3), 3)]
    reports.clear()
    engine.generate(PROMPT, progress=lambda found: reports.append((found.clips, found.clip_count)), **CLIP)
    assert set(reports) == {(range(1), 1)}


def test_videos_are_yielded_as_soon_as_they_are_rendered(engine: Engine) -> None:
    requests = [RenderRequest(PROMPT, frames=5, width=32, height=32, steps=2, seed=seed) for seed in range(3)]
    steps: list[int] = []
    videos = engine.render_each(requests, batch_size=1, progress=lambda found: steps.append(found.clips.start))
    next(videos)
    assert set(steps) == {0}
    assert len(list(videos)) == 2 and set(steps) == {0, 1, 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda one: [], r"requests=\[\]", id="none"),
        pytest.param(lambda one: [one, RenderRequest(PROMPT, frames=9)], r"requests\[1\] has", id="another length"),
        pytest.param(lambda one: [one, PROMPT], "is not a RenderRequest", id="a text"),
    ],
)
def test_requests_that_cannot_share_a_batch_are_named(
    change: Callable[[RenderRequest], list[Any]], message: str, engine: Engine
) -> None:
    with pytest.raises(InputError, match=message):
        list(engine.render_each(change(RenderRequest(PROMPT, frames=5, width=32, height=32, steps=2))))


def test_settings_that_hold_tensors_are_compared() -> None:
    """Such as face features among a pipeline's own options."""

    class Resolved:
        def __init__(self, value: float) -> None:
            self.value = value

        def to_dict(self) -> dict[str, Any]:
            return {"prompt": PROMPT, "options": {"features": [torch.ones(2), torch.full((2,), self.value)]}}

    check_equal_settings([Resolved(0), Resolved(0)])  # type: ignore[list-item]
    with pytest.raises(InputError, match="options"):
        check_equal_settings([Resolved(0), Resolved(1)])  # type: ignore[list-item]
