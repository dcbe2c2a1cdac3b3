"""Denoising loop: the order of its calls, going back to a snapshot, and refusals."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler

from videogen import Engine, InputError, UnsupportedError
from videogen.backbones.clip import Clip, PredictionContext
from videogen.core.branch import Branch
from videogen.sampling.loop import LoopState, denoise
from videogen.sampling.step_plan import StepRow
from videogen.sampling.technique import Technique
from videogen.schedulers import Solver, Window, Windows, build_solver

PROMPT = "a red ball moves right"
TINY: dict[str, Any] = {"frames": 5, "size": (32, 32), "steps": 6, "seed": 1, "guidance_scale": 1.0}


class ToyClip(Clip):
    """A clip whose model is a function of the latents and the step."""

    def __init__(self) -> None:
        self.solver = build_solver("dpm++2m", DDIMScheduler(clip_sample=False), 6)
        self.initial = torch.linspace(-1, 1, 48).reshape(1, 4, 3, 2, 2)

    def predict(self, context: PredictionContext, latents: torch.Tensor, window: Window | None = None) -> torch.Tensor:
        with context.around(Branch("cond", window=None if window is None else window.start)):
            return torch.sin(context.model_input(latents) + context.index)

    def step(self, index: int, prediction: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        self.position = index + 1
        return self.solver.step(prediction, index, latents, [])

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return latents

    def snapshot(self) -> tuple[Solver, int | None]:
        return self.solver.copy(), self.position

    def restore(self, snapshot: object) -> None:
        assert isinstance(snapshot, tuple)
        solver, self.position = snapshot
        self.solver = solver.copy()


class Recorder(Technique):
    """Records its calls."""

    def __init__(self, calls: list[tuple[str, str, int]], name: str) -> None:
        self.calls, self.name = calls, name

    def before_step(self, row: StepRow, state: LoopState) -> None:
        self.calls.append((self.name, "before", row.index))

    def around(self, row: StepRow, branch: Branch) -> AbstractContextManager[object]:
        self.calls.append((self.name, str(branch), row.index))
        return nullcontext()

    def after_step(self, row: StepRow, state: LoopState) -> LoopState:
        self.calls.append((self.name, "after", row.index))
        return state


class GoesBack(Technique):
    """After step 4, once, back to before step 2."""

    def __init__(self) -> None:
        self.stored: LoopState | None = None
        self.gone_back = 0

    def before_step(self, row: StepRow, state: LoopState) -> None:
        if row.index == 2 and not self.gone_back:
            self.stored = state.snapshot()

    def after_step(self, row: StepRow, state: LoopState) -> LoopState:
        if row.index == 4 and self.stored is not None and self.gone_back < 2:
            self.gone_back += 1
            return self.stored
        return state


def plan() -> list[StepRow]:
    return [StepRow(index, float(t), None, 0, 1.0) for index, t in enumerate(ToyClip().solver.timesteps)]


def run(*techniques: Technique, windows: Windows | None = None) -> torch.Tensor:
    clip = ToyClip()
    state = LoopState(clip, clip.initial, 0, windows, techniques)
    *_, last = denoise(state, plan(), torch.float32)
    return last.latents


def test_calls_come_in_order() -> None:
    calls: list[tuple[str, str, int]] = []
    run(Recorder(calls, "a"), Recorder(calls, "b"))
    assert calls[:6] == [(name, kind, 0) for kind in ("before", "cond", "after") for name in "ab"]


def test_each_window_is_a_branch() -> None:
    calls: list[tuple[str, str, int]] = []
    run(Recorder(calls, "a"), windows=Windows(3, 2, 1))
    assert [kind for _, kind, step in calls if step == 0] == ["before", "cond@0", "cond@1", "after"]


def test_going_back_twice_leaves_no_trace() -> None:
    back = GoesBack()
    assert torch.equal(run(back), run()) and back.gone_back == 2


def test_later_techniques_are_not_called_with_an_earlier_state() -> None:
    calls: list[tuple[str, str, int]] = []
    run(GoesBack(), Recorder(calls, "a"))
    assert [step for _, kind, step in calls if kind == "after"] == [0, 1, 2, 3, 2, 3, 2, 3, 4, 5]


def test_a_snapshot_after_the_clip_has_moved_on_is_refused() -> None:
    clip = ToyClip()
    states = list(denoise(LoopState(clip, clip.initial, 0), plan(), torch.float32))
    with pytest.raises(InputError, match="has moved on to step 6 since this state of step 2"):
        states[1].snapshot()


SPARSE: dict[str, Any] = {
    "sparsity": 0.5, "policy": "adaspa", "min_length": 8, "query_block": 4, "key_block": 2, "rows": None,
    "audit": "off", "search_at": [step / 6 for step in range(6)],
}  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="plain"),
        pytest.param({"attention": SPARSE}, id="sparse attention"),
        pytest.param({"solver": "unipc"}, id="a solver with a corrector"),
        pytest.param({"propagate": "every:3"}, id="propagation"),
        pytest.param({"propagate": "every:3", "guidance_scale": 3.0}, id="propagation of two branches"),
        pytest.param({"propagate": {"keys": "every:3", "boundary": "blocks:1,1"}}, id="propagation of blocks"),
        pytest.param({"propagate": {"max_error": 0.9, "first": 2}, "steps": 20}, id="propagation within an error"),
    ],
)
def test_a_technique_of_a_user_may_go_back(options: dict[str, Any], embedded: Engine) -> None:
    plain, back = (
        embedded.generate(PROMPT, techniques=techniques, **TINY | options) for techniques in ([], [GoesBack()])
    )
    assert (plain.frames == back.frames).all()
    reports = [(video.manifest or {})["measured"].get("propagation", {}) for video in (plain, back)]
    for name in ("keys", "evaluated", "errors"):
        assert reports[0].get(name) == reports[1].get(name)
    if reports[0]:
        evaluated, _, steps, _ = reports[0]["evaluated"].split()
        assert int(evaluated) < int(steps)


class StateAtStep2(GoesBack):
    """Compares propagation's state each time that the run comes to step 2."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[Any] = []

    def before_step(self, row: StepRow, state: LoopState) -> None:
        super().before_step(row, state)
        if row.index == 2:
            self.states.append(next(t for t in state.techniques if not (t is self or t.only_observes)).snapshot())


@pytest.mark.parametrize("boundary", ["output", "blocks:1,1"])
def test_propagation_s_state_after_going_back_is_what_it_was(boundary: str, embedded: Engine) -> None:
    technique = StateAtStep2()
    embedded.generate(PROMPT, techniques=[technique], propagate={"keys": "every:3", "boundary": boundary}, **TINY)
    first, *later = technique.states
    assert len(later) == 2 and all(is_same(first, state) for state in later)
    assert not is_same(first[0].denoisers, []), "there is a state"


def is_same(one: Any, other: Any) -> bool:
    """Whether plain data, dataclasses and tensors are equal."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if is_dataclass(one):
        names = [field.name for field in fields(one)]
        return type(one) is type(other) and all(is_same(getattr(one, n), getattr(other, n)) for n in names)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    return one is other or bool(one == other)


@pytest.mark.parametrize("propagate", [{"keys": "every:3", "frames": 2}, "first-block:0.1"])
def test_techniques_that_cannot_go_back_refuse(propagate: Any, embedded: Engine) -> None:
    with pytest.raises(UnsupportedError, match="to an earlier step; leave"):
        embedded.generate(PROMPT, techniques=[GoesBack()], propagate=propagate, **TINY)


def test_every_technique_ends_even_if_another_fails_to(embedded: Engine) -> None:
    ended: list[str] = []

    def ending(name: str, fails: bool) -> Technique:
        def end() -> dict[str, Any]:
            ended.append(name)
            if fails:
                raise RuntimeError("cannot end")
            return {}

        technique = Technique()
        technique.end = end  # type: ignore[method-assign]
        return technique

    with pytest.raises(RuntimeError, match="cannot end"):
        embedded.generate(PROMPT, techniques=[ending("a", False), ending("b", True)], **TINY)
    assert ended == ["b", "a"]


def test_a_clip_that_runs_in_order_refuses_to_begin_late(embedded: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from videogen.backbones.guided import GuidedClip

    class Late(Technique):
        def start(self, state: LoopState) -> LoopState:
            from dataclasses import replace

            return replace(state, index=1)

    monkeypatch.setattr(GuidedClip, "reenterable", False)
    with pytest.raises(UnsupportedError, match="cannot begin at step 1"):
        embedded.generate(PROMPT, techniques=[Late()], **TINY)


@pytest.fixture(scope="module")
def embedded() -> Engine:
    return Engine.load("embedded", device="cpu")
