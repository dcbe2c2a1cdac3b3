"""CoNo's identities: the permutations, the copied frames, their bit-equal trajectories until release, the emitted
frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from videogen.core.errors import InputError
from videogen.schedulers import (
    LookBack,
    MeanRegularisation,
    NoiseSource,
    Solver,
    build_solver,
    look_back,
    noise_stream,
    replay,
)
from videogen.schedulers.cono.look_back import CLIPS, Clip, extend, internal
from videogen.schedulers.cono.noise import ConoNoise

SHAPE = (3, 4, 5)
STEPS = 8
PAPER = LookBack(16, 6, 8, release=5)
PLANS = [
    pytest.param(PAPER, id="16 frames, 6 and 8, as published"),
    pytest.param(LookBack(21, 8, 10, 5), id="21 frames, 8 and 10"),
    pytest.param(LookBack(5, 2, 2, 5), id="5 frames, 2 and 2"),
    pytest.param(LookBack(3, 1, 1, 5), id="3 frames, the fewest"),
    pytest.param(LookBack(16, 6, 8, 5, handover=6), id="D begins with n1 of M's frames"),
    pytest.param(LookBack(16, 6, 8, 5, handover=10), id="D begins with all frames of M that are not A's"),
    pytest.param(LookBack(16, 6, 8, 5, right_release=3), id="B releases M earlier"),
    pytest.param(LookBack(9, 3, 4, 5, anchor=1), id="D's first frame comes from M"),
    pytest.param(LookBack(9, 3, 4, 5, handover=2, anchor=2), id="all common frames come from M"),
]
OWN = {
    "epsilon": DDIMScheduler(clip_sample=False),
    "v_prediction": DDIMScheduler(prediction_type="v_prediction", clip_sample=False),
    "flow": FlowMatchEulerDiscreteScheduler(shift=3.0),
}


# --- permutations


def test_the_paper_s_example() -> None:
    a = list(range(16))
    b = [a[i] for i in extend(16, 6)]
    m = [b[i] for i in internal(16, 6, 8)]
    d = [m[i] for i in extend(16, 8)]
    assert b == [10, 11, 12, 13, 14, 15, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert m == [10, 11, 12, 13, 14, 15, 1, 0, 9, 8, 7, 6, 5, 4, 3, 2]
    assert d == [9, 8, 7, 6, 5, 4, 3, 2, 0, 1, 15, 14, 13, 12, 11, 10]


@pytest.mark.parametrize(
    ("order", "found"),
    [
        pytest.param(extend(5, 0), [4, 3, 2, 1, 0], id="nothing copied: reversed"),
        pytest.param(extend(5, 5), [0, 1, 2, 3, 4], id="all copied: unchanged"),
        pytest.param(internal(5, 2, 0), [0, 1, 2, 3, 4], id="nothing copied on the right: unchanged"),
        pytest.param(internal(5, 0, 2), [2, 3, 4, 0, 1], id="nothing copied on the left: rotated"),
        pytest.param(internal(5, 2, 3), [0, 1, 2, 3, 4], id="all copied: unchanged"),
    ],
)
def test_permutations_in_limiting_cases(order: list[int], found: list[int]) -> None:
    assert order == found


@pytest.mark.parametrize("plan", PLANS)
def test_copied_slots_have_the_noise_of_their_source(plan: LookBack) -> None:
    """Also along a chain of several clips."""
    noise = {"A": list(range(plan.frames))}
    for clip in plan.clips:
        noise[clip.name] = [noise[clip.noise_source][i] for i in clip.order]
        assert sorted(noise[clip.name]) == noise["A"], "a permutation"
        for copy in clip.copies:
            assert [noise[clip.name][i] for i in copy.slots] == [noise[copy.source][i] for i in copy.source_slots]


# --- the schedule


def test_the_paper_s_schedule() -> None:
    b, m, d = PAPER.clips
    copies = [(c.name, g.source, list(g.slots), list(g.source_slots), g.release) for c in (b, m, d) for g in c.copies]
    assert copies == [
        ("B", "A", [0, 1, 2, 3, 4, 5], [-6, -5, -4, -3, -2, -1], 5),
        ("M", "A", [0, 1, 2, 3, 4, 5], [-6, -5, -4, -3, -2, -1], 5),
        ("M", "B", [8, 9, 10, 11, 12, 13, 14, 15], [6, 7, 8, 9, 10, 11, 12, 13], 5),
        ("D", "M", [0, 1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11, 12, 13, 14, 15], 5),
    ]
    assert [list(c.emitted) for c in (b, m, d)] == [[], [6, 7], list(range(16))]
    assert [c.mean_source for c in (b, m, d)] == ["A", "B", "M"]


def test_options_where_the_paper_is_silent() -> None:
    plan = LookBack(16, 6, 8, release=5, right_release=2, handover=6, mean_of="first")
    _, m, d = plan.clips
    assert [g.release for g in m.copies] == [5, 2] and [len(g.slots) for g in d.copies] == [6]
    assert list(m.emitted) == [6, 7, 8, 9], "M is emitted up to the start of D"
    assert {c.mean_source for c in plan.clips} == {"first"}
    assert LookBack(16, 6, 8, release=5, right_release=0).clips[1].copies[1].release == 0


@pytest.mark.parametrize(
    ("frames", "steps", "found"),
    [
        pytest.param(16, 50, LookBack(16, 6, 8, 40), id="the paper's"),
        pytest.param(21, 40, LookBack(21, 8, 10, 32), id="Wan's 81 frames"),
        pytest.param(5, 10, LookBack(5, 2, 2, 8), id="a short clip"),
        pytest.param(3, 1, LookBack(3, 1, 1, 1), id="the shortest"),
    ],
)
def test_published_fractions(frames: int, steps: int, found: LookBack) -> None:
    assert look_back(frames, steps) == found


@pytest.mark.parametrize("plan", PLANS)
def test_lengths_and_positions(plan: LookBack) -> None:
    """The emitted frames of the clips, concatenated, are the video; `span` gives the positions of B, M and D in it."""
    video = [(0, "A", slot) for slot in range(plan.frames)]
    for k in range(3):
        assert len(video) == plan.length(k) == plan.frames + k * (2 * plan.frames - plan.n1 - plan.handed)
        for clip in plan.clips:
            for slot in clip.emitted:
                assert plan.span(clip.name, k)[slot] == len(video)
                video.append((k, clip.name, slot))
        assert plan.span("B", k) == plan.span("M", k)
    assert [plan.place(frame) for frame in range(len(video))] == video
    assert [plan.extensions_for(n) for n in (1, plan.length(0), plan.length(0) + 1, plan.length(2))] == [0, 0, 1, 2]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param((16, 8, 8, 5), "n1=8 and n2=8 copy all of frames=16.*at most 15", id="no frame is free"),
        pytest.param((2, 1, 1, 5), "longer clips", id="too short"),
        pytest.param((16, 0, 8, 5), "n1=0 must be at least 1", id="nothing from the left"),
        pytest.param((16, 6, 0, 5), "n2=0 must be at least 1", id="nothing from the right"),
        pytest.param((16, 6, 8, -1), "release=-1", id="release before the first step"),
        pytest.param((16, 6, 8, 5, -2), "right_release=-2", id="the same on the right"),
        pytest.param((16, 6, 8, 5, None, 11), "handover=11 must be between 1 and 10", id="D begins with frames of A"),
        pytest.param((16, 6, 8, 5, None, 0), "handover=0", id="D copies none"),
        pytest.param(
            (16, 6, 8, 5, None, None, "adjacent", 9),
            "anchor=9 must be between 0 and 8",
            id="more of M than D has in common",
        ),
        pytest.param((16, 6, 8, 5, None, None, "adjacant"), "did you mean 'adjacent'", id="mean misspelt"),
    ],
)
def test_bad_settings_are_refused_with_a_remedy(settings: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LookBack(*settings)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(lambda: extend(5, 6), "n1=6 must be between 0 and 5", id="more copied than there are"),
        pytest.param(lambda: internal(5, 3, 3), "n2=3 must be between 0 and 2", id="more copied than are left"),
        pytest.param(lambda: look_back(2, 50), "frames=2 are too few", id="clips too short"),
        pytest.param(lambda: look_back(16, 50, 1.5), "fraction=1.5", id="more than all steps"),
        pytest.param(lambda: PAPER.span("A", 0), "known: B, M, D", id="A is not a clip of an extension"),
        pytest.param(lambda: PAPER.place(-1), "frame=-1", id="before the video"),
        pytest.param(lambda: PAPER.length(-1), "extensions=-1", id="a negative number of extensions"),
        pytest.param(
            lambda: replay(torch.zeros(1, 3, 16, 4, 5), PAPER.clips[0], {"A": torch.zeros(1, 3, 5, 4, 5)}, 0),
            "copies 6 frames of A, whose output has 5",
            id="too few source frames",
        ),
    ],
)
def test_bad_calls_are_refused_with_a_remedy(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


# --- replay


def test_replay_copies_until_release_and_does_not_change_its_argument() -> None:
    middle = PAPER.clips[1]
    prediction = torch.randn(1, *SHAPE[:1], 16, *SHAPE[1:])
    original = prediction.clone()
    outputs = {name: torch.randn_like(prediction) for name in "AB"}
    found = replay(prediction, middle, outputs, 4)
    assert torch.equal(found, torch.cat([outputs["A"][:, :, 10:], original[:, :, 6:8], outputs["B"][:, :, 6:14]], 2))
    assert torch.equal(prediction, original)
    assert torch.equal(replay(prediction, middle, {**outputs, "A": outputs["A"][:, :, 10:]}, 4), found), (
        "the last frames of A suffice"
    )
    assert replay(prediction, middle, outputs, 5) is prediction


@dataclass
class Run:
    """latents: before each step and after the last, [c, f, h, w]. outputs: the solver's inputs, [1, c, f, h, w]."""

    latents: list[torch.Tensor]
    outputs: list[torch.Tensor]


def toy(latents: torch.Tensor, step: int, prompt: float) -> torch.Tensor:
    """A denoiser in which every frame attends to all others."""
    frames = latents.shape[2]
    weights = torch.randn(frames, frames, generator=torch.Generator().manual_seed(frames)) / frames
    return torch.tanh(torch.einsum("fg,bcghw->bcfhw", weights, latents) + 0.1 * step + prompt)


def new_solver(name: str, kind: str) -> Solver:
    return build_solver(name, OWN[kind], STEPS)


def sample(name: str, kind: str, noise: NoiseSource, frames: int, prompt: float) -> Run:
    """Sample one clip without the others."""
    solver, x = new_solver(name, kind), noise.frames(range(frames), SHAPE)
    run = Run([x[0]], [])
    for step in range(STEPS):
        run.outputs.append(toy(x, step, prompt))
        x = solver.step(run.outputs[-1], step, x, [noise])
        run.latents.append(x[0])
    return run


def extension(
    name: str, kind: str, plan: LookBack, noise: list[NoiseSource], source: Run, prompt: float, pull: MeanRegularisation
) -> dict[str, Run]:
    """Sample B, M and D in lock-step: regularisation, then replay, then one solver step for each."""
    solver = new_solver(name, kind)
    levels = solver.levels
    assert levels is not None
    x = torch.cat([n.frames(range(plan.frames), SHAPE) for n in noise])
    runs = {clip: Run([latents], []) for clip, latents in zip(CLIPS, x, strict=True)}
    for step in range(STEPS):
        outputs = {"A": source.outputs[step], **{c: toy(x[i : i + 1], step, prompt) for i, c in enumerate(CLIPS)}}
        for clip in plan.clips:
            outputs[clip.name] = pull.apply(outputs[clip.name], outputs[clip.mean_source], levels[step], solver.kind)
        for clip in plan.clips:
            outputs[clip.name] = replay(outputs[clip.name], clip, outputs, step)
        x = solver.step(torch.cat([outputs[c] for c in CLIPS]), step, x, noise)
        for clip_name, latents in zip(CLIPS, x, strict=True):
            runs[clip_name].latents.append(latents)
            runs[clip_name].outputs.append(outputs[clip_name])
    return runs


def run_extension(
    name: str, kind: str, plan: LookBack, k: int, refresh: float, strength: float
) -> tuple[dict[str, Run], ConoNoise]:
    """The k-th extension of a toy video, with another prompt than A: the runs of A, B, M and D."""
    stream = noise_stream("cono", seed=3, refresh=refresh, **plan.layout)
    assert isinstance(stream, ConoNoise)
    source = sample(name, kind, stream.clip("A", k), plan.frames, prompt=-0.2)
    noise: list[NoiseSource] = [stream.clip(clip, k) for clip in CLIPS]
    return {"A": source, **extension(name, kind, plan, noise, source, 0.3, MeanRegularisation(strength))}, stream


def equal_at(clip: Clip, runs: dict[str, Run], step: int) -> list[bool]:
    """For each copy of the clip, whether its latents before this step equal those of the source frames."""
    copied = [runs[clip.name].latents[step][:, list(g.slots)] for g in clip.copies]
    sources = [runs[g.source].latents[step][:, list(g.source_slots)] for g in clip.copies]
    return [torch.equal(a, b) for a, b in zip(copied, sources, strict=True)]


SOLVERS = [
    pytest.param("ddim", "epsilon", id="DDIM on noise"),
    pytest.param("ddim", "v_prediction", id="DDIM on velocity"),
    pytest.param("euler", "flow", id="Euler on flow"),
    pytest.param("unipc", "flow", id="UniPC on flow"),
    pytest.param("unipc", "epsilon", id="UniPC on noise"),
    pytest.param("euler-a", "epsilon", id="stochastic, keyed by source: Euler ancestral"),
    pytest.param("dpm++2m-sde", "flow", id="stochastic, keyed by source: DPM++ 2M SDE on flow"),
]


@pytest.mark.parametrize(("name", "kind"), SOLVERS)
@pytest.mark.parametrize("plan", PLANS)
def test_copied_frames_follow_the_source_bit_for_bit_until_release(name: str, kind: str, plan: LookBack) -> None:
    runs, _ = run_extension(name, kind, plan, k=0, refresh=0.0, strength=0.2)
    for clip in plan.clips:
        for step in range(STEPS + 1):
            assert equal_at(clip, runs, step) == [step <= copy.release for copy in clip.copies], (clip.name, step)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("refresh", [0.0, 0.4], ids=["paper's noise", "refreshed noise"])
def test_copied_frames_of_later_extensions_follow_too(k: int, refresh: float) -> None:
    runs, _ = run_extension("dpm++2m-sde", "flow", PAPER, k, refresh, strength=0.0)
    for clip in PAPER.clips:
        assert [all(equal_at(clip, runs, step)) for step in range(STEPS + 1)] == [
            step <= 5 for step in range(STEPS + 1)
        ]


def test_stochastic_solvers_keyed_by_slot_break_the_identity() -> None:
    """Generators must be keyed by source: if they are keyed by slot, the noise of the first step differs already."""
    stream = noise_stream("cono", seed=3, **PAPER.layout)
    assert isinstance(stream, ConoNoise)
    source = sample("euler-a", "epsilon", stream.clip("A", 0), 16, -0.2)

    @dataclass
    class BySlot:
        window: NoiseSource
        stream_seed: int

        def frames(self, indices: Sequence[int], shape: Sequence[int]) -> torch.Tensor:
            return self.window.frames(indices, shape)

        def generators(self, step: int, frames: int) -> list[torch.Generator]:
            return noise_stream("iid", self.stream_seed).generators(step, frames)

    noise: list[NoiseSource] = [BySlot(stream.clip(clip, 0), i) for i, clip in enumerate(CLIPS)]
    runs = {"A": source, **extension("euler-a", "epsilon", PAPER, noise, source, 0.3, MeanRegularisation(0))}
    assert equal_at(PAPER.clips[0], runs, 0) == [True] and equal_at(PAPER.clips[0], runs, 1) == [False]


@pytest.mark.parametrize(("name", "kind"), SOLVERS)
def test_without_replay_and_regularisation_the_clips_are_independent_samples(name: str, kind: str) -> None:
    plan = replace(PAPER, release=0)
    runs, stream = run_extension(name, kind, plan, k=0, refresh=0.0, strength=0.0)
    for clip in CLIPS:
        alone = sample(name, kind, stream.clip(clip, 0), plan.frames, prompt=0.3)
        assert torch.equal(runs[clip].latents[-1], alone.latents[-1])
