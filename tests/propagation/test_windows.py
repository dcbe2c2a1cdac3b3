"""Windows of a clip as branches of one step: in any order, of any length, taking turns, or new in mid-run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from tests.attention.models import TINY, Tiny
from tests.propagation.models import Timesteps, equal, tensors
from videogen.propagation import StepCaching, attach
from videogen.propagation.handle import PropagationHandle
from videogen.propagation.library import attach_library
from videogen.propagation.supervision import CallContext, Supervision
from videogen.schedulers.levels import NoiseLevel

STEPS = 12
BRANCHES = ("cond@0", "uncond@0", "cond@12", "uncond@12", "cond:1@12", "cond@24")
ORDERS = (BRANCHES, BRANCHES[::-1], ("uncond@12", "cond@24", "cond@0", "cond:1@12", "uncond@0", "cond@12"))
STAGGERED = (("cond@0", "uncond@0", "cond@12"), ("cond@6", "uncond@6", "cond@18"))
OVERLAPPING = (("cond@0", "cond@12"), ("cond@0", "cond@6"))  # both sets begin with the clip
ROWS = {tiny.name: tiny for tiny in TINY}
WAN, UNET = ROWS["WanTransformer3DModel"], ROWS["UNet3DConditionModel"]
CASES = [(WAN, boundary) for boundary in ("output", "blocks:1,0", "blocks:0,1")]
CASES += [(UNET, boundary) for boundary in ("fd", "cut:1,2")]
each = pytest.mark.parametrize(
    ("tiny", "boundary"), [pytest.param(*case, id=f"{case[0].name}-{case[1]}") for case in CASES]
)


class Schedule(Timesteps):
    def __init__(self) -> None:
        super().__init__(STEPS)
        self.timesteps = torch.tensor([900 - 60 * step for step in range(STEPS)])


@pytest.fixture(autouse=True)
def _no_gradients() -> Any:
    with torch.inference_mode():
        yield


def inputs(tiny: Tiny, branch: str, step: int) -> dict[str, Any]:
    """Text and latents of one branch; the windows at 12 and 18 are shorter than the others."""
    given = tiny.inputs()
    name = "sample" if "sample" in given else "hidden_states"
    guidance, _, window = branch.partition("@")
    scale = 1 + 0.1 * int(window) + (0.01 if ":" in guidance else 0.0)
    given[name] = given[name] * scale * (1 - 0.03 * step) + 0.02 * step
    if window in ("12", "18"):
        given[name] = given[name][:, :, :3].contiguous()
    given["encoder_hidden_states"] = given["encoder_hidden_states"] * (-1 if guidance == "uncond" else scale)
    timestep = 900 - 60 * step
    before = given["timestep"]
    given["timestep"] = torch.full_like(before, timestep) if isinstance(before, torch.Tensor) else timestep
    return given


def evaluate(
    handle: PropagationHandle, model: nn.Module, tiny: Tiny, step: int, branch: str, scale: float = 3.0
) -> list[torch.Tensor]:
    with handle.at(step, branch, scale):
        return tensors(model(**inputs(tiny, branch, step)))


def run(
    handle: PropagationHandle,
    model: nn.Module,
    tiny: Tiny,
    branches: Callable[[int], Sequence[str]],
    steps: int = STEPS,
    scale: float = 3.0,
) -> dict[str, list[torch.Tensor]]:
    found: dict[str, list[torch.Tensor]] = {}
    for step in range(steps):
        for branch in branches(step):
            found.setdefault(branch, []).extend(evaluate(handle, model, tiny, step, branch, scale))
    handle.finish_step()
    return found


def key_steps_of(handle: PropagationHandle, branch: str) -> list[int]:
    """The steps at which a branch was fully evaluated."""
    return [call.step for call in handle.evaluations if call.branch == branch and call.key]


@each
def test_a_branch_does_not_depend_on_the_others(tiny: Tiny, boundary: str) -> None:
    model = tiny.build()
    config = StepCaching(
        keys=(0, 1, 4, 6), boundary=boundary, micro_batch=1 if boundary in ("output", "cut:1,2") else 4
    )
    with attach(model, config, scheduler=Schedule()) as handle:
        alone = {
            branch: run(handle, model, tiny, lambda _, b=branch: (b,), 6)[branch]  # type: ignore[misc]
            for branch in BRANCHES
        }
        for order in ORDERS[1:]:
            together = run(handle, model, tiny, lambda _, o=order: o, 6)  # type: ignore[misc]
            assert all(equal(together[branch], alone[branch]) for branch in BRANCHES)
            assert handle.report()["keys"] == [0, 1, 4] and not handle.run.forced
            assert not any(denoiser.ahead for denoiser in handle.run.denoisers)


@each
def test_a_promise_does_not_depend_on_the_order(tiny: Tiny, boundary: str) -> None:
    model, reports = tiny.build(), []
    for order in ORDERS[1:]:
        with attach(model, StepCaching(max_error=0.9, boundary=boundary, first=3), scheduler=Schedule()) as handle:
            run(handle, model, tiny, lambda _, o=order: o)  # type: ignore[misc]
            reports.append(handle.report())
            assert {len(key_steps_of(handle, branch)) for branch in BRANCHES} == {len(reports[-1]["keys"])}
    assert 3 < len(reports[0]["keys"]) < STEPS
    for report in reports[1:]:
        assert report["keys"] == reports[0]["keys"] and report["forced"] == {}
        drift = [report["drift"][str(key)] for key in report["keys"][1:]]
        assert drift == pytest.approx([reports[0]["drift"][str(key)] for key in report["keys"][1:]], rel=1e-3, abs=2e-6)


@each
@pytest.mark.parametrize(
    ("sets", "flip"), [(STAGGERED, False), (OVERLAPPING, True)], ids=["staggered", "overlapping, reversed"]
)
def test_windows_that_take_turns_follow_every_key_step(tiny: Tiny, boundary: str, sets: Any, flip: bool) -> None:
    """Steps 0, 4 and 8 are key steps of the first set; the windows of the other set follow at 1, 5 and 9."""
    model = tiny.build()
    with attach(model, StepCaching(keys="every:4", boundary=boundary), scheduler=Schedule()) as handle:
        found = run(handle, model, tiny, lambda step: sets[step % 2][::-1] if flip else sets[step % 2])
        first, second = ([b for b in sets[i] if b not in sets[1 - i]] for i in (0, 1))
        if sets is STAGGERED:
            assert handle.report()["keys"] == [0, 1, 4, 5, 8, 9]
            assert all(key_steps_of(handle, branch) == [0, 4, 8] for branch in first)
        assert all({1, 5, 9} <= set(key_steps_of(handle, branch)) for branch in second)
        assert all({0, 4, 8} <= set(key_steps_of(handle, branch)) for branch in first)
        assert any(not call.key for call in handle.evaluations)
        assert {1, 5, 9} <= set(handle.run.forced)
    for branch in second:  # at a key step the output is the model's, bit for bit
        assert equal(found[branch][:1], tensors(model(**inputs(tiny, branch, 1))))


@each
def test_with_turns_and_every_second_step_all_are_key_steps(tiny: Tiny, boundary: str) -> None:
    model = tiny.build()
    with attach(model, StepCaching(keys="every:2", boundary=boundary), scheduler=Schedule()) as handle:
        run(handle, model, tiny, lambda step: STAGGERED[step % 2], steps=6)
        assert handle.report()["keys"] == list(range(6))


@each
def test_a_promise_with_turns_counts_from_the_key_step_of_each_window(tiny: Tiny, boundary: str) -> None:
    model = tiny.build()
    with attach(model, StepCaching(max_error=0.5, boundary=boundary), scheduler=Schedule()) as handle:
        run(handle, model, tiny, lambda step: STAGGERED[step % 2])
        report = handle.report()
        keys = [key_steps_of(handle, branches[0]) for branches in STAGGERED]
    assert 4 < len(report["keys"]) < STEPS and report["within_promise"]
    late = [key for key in report["keys"] if key >= 4]
    assert all(value is not None for step, value in report["drift"].items() if int(step) >= 4) and late
    for key in keys[0][2:-1]:  # next to a key step of one set there is one of the other
        assert any(abs(key - other) == 1 for other in keys[1])


def test_the_span_of_a_turn_begins_at_its_key_step() -> None:
    from tests.propagation.test_controller import levels
    from videogen.propagation.controller import ErrorControl

    near, far = (ErrorControl(0.5, 1.0, levels(), 1, 2, 1, rate=0.01) for _ in range(2))
    for control, key in ((near, 9), (far, 8)):
        control.start_span(key)
        assert not control.is_key_step(10) and control._span == [(10, key)]
    assert far._estimated > near._estimated and (far.expected_error(10) or 0) > (near.expected_error(10) or 0)


@each
@pytest.mark.parametrize("place", ["first", "last"])
def test_a_window_that_is_new_between_key_steps_is_fully_evaluated(tiny: Tiny, boundary: str, place: str) -> None:
    model, new = tiny.build(), "cond@24"
    old = BRANCHES[:3]
    plain = tensors(model(**inputs(tiny, new, 2)))
    with attach(model, StepCaching(keys=(0, 5), boundary=boundary), scheduler=Schedule()) as handle:
        later = (new, *old) if place == "first" else (*old, new)
        found = run(handle, model, tiny, lambda step: old if step < 2 else later, steps=7)
        assert handle.run.forced[2] == "nothing was cached yet"
        assert key_steps_of(handle, new)[0] == 2 and equal(found[new][:1], plain)
        if place == "first":  # the step is a key step of all
            assert handle.report()["keys"] == [0, 2, 5] and all(key_steps_of(handle, b) == [0, 2, 5] for b in old)
        else:  # the others were propagated before it came: the next step is a key step
            assert handle.report()["keys"] == [0, 3, 5] and all(key_steps_of(handle, b) == [0, 3, 5] for b in old)


def test_predictions_made_ahead_are_for_the_steps_of_the_turn() -> None:
    model = UNET.build()
    with attach(model, StepCaching(keys="every:6", boundary="fd"), scheduler=Schedule()) as handle:
        run(handle, model, UNET, lambda step: STAGGERED[step % 2], steps=8)  # the second round of key steps, at 6 and 7
        assert {step for _, step in handle.run.denoisers[0].ahead} == {8, 9, 10, 11}
        assert all(step % 2 == (branch in STAGGERED[1]) for branch, step in handle.run.denoisers[0].ahead)


@pytest.mark.parametrize("tiny", [WAN, UNET], ids=lambda tiny: tiny.name)
def test_rolling_back_undoes_the_key_step_of_that_step_alone(tiny: Tiny) -> None:
    model = tiny.build()
    with attach(model, StepCaching(max_error=0.9, first=2, last=0), scheduler=Schedule()) as handle:
        run(handle, model, tiny, lambda step: STAGGERED[step % 2], steps=2)
        control: Any = handle.run.controller
        points = handle.run.cut._points
        for step in range(2, STEPS):
            for branch in STAGGERED[step % 2]:
                evaluate(handle, model, tiny, step, branch)
            before = {branch: list(at) for branch, at in points.items()}
            if handle.on_key_step and control._span:
                control.roll_back_step = lambda *_: control._span[0][0]
                break
            handle.finish_step()
        back = handle.finish_step(roll_back=True)
        del control.roll_back_step
        assert back is not None and handle.run.rolled_back == [(step, back)]
        assert all(points[branch] == before[branch][1:] for branch in STAGGERED[step % 2])
        assert all(points[branch] == before[branch] for branch in STAGGERED[1 - step % 2])
        for again in range(back, STEPS):
            for branch in STAGGERED[again % 2]:
                evaluate(handle, model, tiny, again, branch)
        assert back in handle.report()["keys"] and handle.report()["steps"] == STEPS


def note(supervision: Supervision, branch: str, error: torch.Tensor, scale: float = 3.0) -> None:
    zeros = torch.zeros_like(error)
    supervision.note(zeros, error, torch.ones_like(error), NoiseLevel(0.6, 0.8), CallContext(1, branch, scale))


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
def test_each_window_is_guided_separately(order: Sequence[int]) -> None:
    positive, negative = torch.randn(2, 1, 4, 5, generator=torch.Generator().manual_seed(0))
    calls = [
        ("cond@0", positive),
        ("uncond@0", negative),
        ("cond@3", 2 * positive[:, :, :2]),
        ("uncond@3", 2 * negative[:, :, :2]),
    ]
    supervision = Supervision("sample")
    for index in order:
        note(supervision, *calls[index])
    totals = [negative + 3 * (positive - negative), 2 * (negative + 3 * (positive - negative))[:, :, :2]]
    rms = torch.cat([total.flatten() for total in totals]).square().mean().sqrt()
    size = max(error.square().mean().sqrt() for _, error in calls)  # of what is predicted, which here is the error
    assert supervision.error(NoiseLevel(0.6, 0.8)) == pytest.approx(float(rms / size), rel=1e-5)


@pytest.mark.parametrize("names", [("cond@0", "cond@3"), ("cond", "cond:1"), ("cond@0", "cond:1@0")])
def test_without_guidance_every_branch_counts(names: tuple[str, str]) -> None:
    small, large = 0.1 * torch.ones(1, 4, 5), torch.ones(1, 4, 5)
    for first, second in ((small, large), (large, small)):
        supervision = Supervision("sample")
        note(supervision, names[0], first, 1.0)
        note(supervision, names[1], second, 1.0)
        assert supervision.error(NoiseLevel(0.6, 0.8)) == pytest.approx(((1 + 0.01) / 2) ** 0.5)


def test_a_batch_of_both_halves_is_guided_in_each_window() -> None:
    halves = torch.stack([torch.zeros(4, 5), torch.ones(4, 5)])  # the unconditional one first
    supervision = Supervision("sample")
    for window in (0, 3):
        note(supervision, f"uncond+cond@{window}", halves)
    assert supervision.error(NoiseLevel(0.6, 0.8)) == pytest.approx(3 / 0.5**0.5)


@pytest.mark.parametrize("cache", ["first-block:9", "magcache:9", "taylorseer", "fastercache", "pab", "seacache:9"])
def test_caches_of_diffusers_separate_windows(cache: str) -> None:
    model = WAN.build()

    def run_branches(handle: Any, branches: Callable[[int], Sequence[str]]) -> dict[str, list[torch.Tensor]]:
        found: dict[str, list[torch.Tensor]] = {}
        for step in range(STEPS):
            for branch in branches(step):
                with handle.at(step, branch, timestep=600.0 - 20 * step, sigma=0.6 - 0.02 * step):
                    found.setdefault(branch, []).extend(tensors(model(**inputs(WAN, branch, step))))
        return found

    ratios = {"mag_ratios": [1.0] * STEPS} if cache.startswith("magcache") else {}
    with attach_library(model, cache, steps=STEPS, is_guidance_distilled=True, **ratios) as handle:
        alone = {
            branch: run_branches(handle, lambda _, b=branch: (b,))[branch]  # type: ignore[misc]
            for branch in BRANCHES
        }
        for order in ORDERS:
            together = run_branches(handle, lambda _, o=order: o)  # type: ignore[misc]
            assert all(equal(together[branch], alone[branch]) for branch in BRANCHES)
        turns = run_branches(handle, lambda step: STAGGERED[step % 2])
        handle.reset()
        again = run_branches(handle, lambda step: STAGGERED[step % 2])
        assert all(
            equal(turns[branch], again[branch]) for branch in turns
        )  # a new run, whose first window is new, starts afresh
