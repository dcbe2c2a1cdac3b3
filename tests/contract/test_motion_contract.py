"""Motion contract of every family: exact where motion is off; the planned noise and reference where it is on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.contract.families import VARIANTS
from videogen import Engine, InputError, NumericsError
from videogen.backbones.clip_spec import ClipSpec
from videogen.backbones.conditioning import Conditioning
from videogen.motion import Camera, Drag, Motion
from videogen.motion.image_files import read_rgba_image
from videogen.motion.latents import latent_mask
from videogen.request.request import RenderRequest
from videogen.request.resolved import ResolvedRequest
from videogen.sampling.loop import LoopState
from videogen.sampling.step_plan import StepRow
from videogen.sampling.technique import Technique
from videogen.schedulers import AddressedNoise, WarpedNoise, build_solver, solver_names
from videogen.schedulers.levels import NoiseLevel
from videogen.schedulers.parametrization import FLOW
from videogen.techniques.dual_clock import DualClockTechnique
from videogen.techniques.motion_plan import plan_motion

PROMPT = "a red ball"
DRAG = Drag((8, 8, 6), [(8, 8), (20, 16)])
pytestmark = pytest.mark.parametrize("name", VARIANTS)
EngineOf = Callable[[str], Engine]


class Watch(Technique):
    """Records the latents before the first step and after each."""

    def __init__(self) -> None:
        self.latents: list[torch.Tensor] = []

    def begin(self, backbone: Any, plan: list[StepRow], state: LoopState) -> None:
        self.latents.append(state.latents.clone())

    def after_step(self, row: StepRow, state: LoopState) -> LoopState:
        self.latents.append(state.latents.clone())
        return state


class Oracle(Technique):
    """Predicts as a model that knows the noise and the clean latents."""

    def __init__(self, kind: str) -> None:
        self.kind, self.reference, self.noise = kind, torch.zeros(0), torch.zeros(0)
        self.solver: Any = None

    def begin(self, backbone: Any, plan: list[StepRow], state: LoopState) -> None:
        self.solver = state.solver
        self.noise = state.latents / state.solver.initial_scale
        self.levels = state.solver.levels

    def level(self, index: int) -> NoiseLevel:
        assert self.levels is not None
        return self.levels[index]

    def start(self, state: LoopState) -> LoopState:
        level = self.level(state.index)
        scale = 1.0 if state.solver.initial_scale < 1.5 else 1 / level.alpha
        self.reference = (state.latents / scale - level.sigma * self.noise) / level.alpha
        return state

    def prediction(self, row: StepRow, state: LoopState, prediction: torch.Tensor) -> torch.Tensor:
        if self.kind == FLOW:
            return self.noise - self.reference
        if self.kind == "epsilon":
            return self.noise.clone()
        level = self.level(row.index)
        return level.alpha * self.noise - level.sigma * self.reference


def options(name: str, **more: Any) -> dict[str, Any]:
    frames, width, height = VARIANTS[name].clips[0]
    return {"frames": frames, "size": (width, height), "steps": 4, "seed": 2, **more}


def request(engine: Engine, name: str, motion: Motion, **more: Any) -> ResolvedRequest:
    frames, width, height = VARIANTS[name].clips[0]
    given = RenderRequest(PROMPT, frames=frames, width=width, height=height, steps=4, motion=motion, **more)
    return given.resolve(engine.backbone)


def recorded_backend(engine: Engine, name: str, motion: Motion, **more: Any) -> str:
    """As the manifest records it."""
    return str(request(engine, name, motion, **more).to_dict()["motion_backend"])


def test_strength_0_of_warped_noise_is_the_plain_render(name: str, engine_of: EngineOf) -> None:
    plain = engine_of(name).generate(PROMPT, **options(name))
    moved = engine_of(name).generate(
        PROMPT, **options(name, motion=DRAG, motion_backend="warped_noise", motion_strength=0.0)
    )
    assert np.array_equal(plain.frames, moved.frames)


@pytest.mark.parametrize(
    ("backend", "warping"),
    [
        ("warped_noise", {}),
        ("warped_noise:texture,cutoff=0.2", {"cutoff": 0.2}),
        ("warped_noise:compat", {"method": "bipartite", "compat": True, "oversample": 4}),
    ],
)
def test_the_run_begins_from_warped_noise(
    name: str, backend: str, warping: dict[str, Any], engine_of: EngineOf
) -> None:
    engine, watch = engine_of(name), Watch()
    settings = options(name, motion=DRAG, motion_backend=backend, motion_strength=0.7, guidance_scale=1.0)
    engine.generate(PROMPT, **settings, techniques=[watch])
    geometry, (frames, width, height) = engine.backbone.geometry, VARIANTS[name].clips[0]
    planned = plan_motion(request(engine, name, DRAG), engine.backbone)
    assert planned is not None
    source = WarpedNoise(
        planned.plan, 2, spatial=geometry.spatial, temporal=geometry.temporal, causal=geometry.single_first,
        strength=0.7, **warping,
    )  # fmt: skip
    _, channels, count, rows, columns = geometry.shape(frames, height, width)
    noise = source.frames(range(count), (channels, rows, columns))
    scale = float((watch.latents[0] / noise).median())
    torch.testing.assert_close(watch.latents[0], scale * noise, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("solver", ["own", "second"])
def test_dual_clock_puts_the_reference_back_at_each_held_step(
    name: str, solver: str, engine_of: EngineOf, tmp_path: Path
) -> None:
    """Where the mask is 1 the latents after a clamped step are alpha * reference + sigma * noise of the level that
    follows."""
    engine, watch = engine_of(name), Watch()
    first = first_frame_file(name, tmp_path)
    solver_name = None if solver == "own" else ("dpm++2m" if name == "animatediff" else "euler")
    motion = {"motion": Camera(pan=6), "motion_backend": "dual_clock:0.9,0.4", "first_frame": first}
    video = engine.generate(
        PROMPT, **options(name, guidance_scale=1.0, steps=10, solver=solver_name, **motion), techniques=[watch]
    )
    assert video.manifest is not None
    assert video.manifest is not None
    phases = [row["motion"] for row in video.manifest["plan"]]
    assert (
        phases == sorted(phases, key=["skipped", "clamped", "partly", "free"].index)
        and "clamped" in phases
        and phases[-1] == "free"
    )
    planned = plan_motion(request(engine, name, Camera(pan=6), motion_backend="dual_clock:0.9,0.4"), engine.backbone)
    assert planned is not None
    geometry, (frames, width, height) = engine.backbone.geometry, VARIANTS[name].clips[0]
    mask = latent_mask(
        planned.plan, spatial=geometry.spatial, temporal=geometry.temporal, single_first=geometry.single_first
    )
    controlled = torch.from_numpy(mask > 0.999).expand(geometry.shape(frames, height, width))
    moved = planned.plan.preview(read_rgba_image(first)[..., :3], arrows=False)
    reference = engine.backbone.encode(torch.from_numpy(moved)[None]).float()
    noise = AddressedNoise(2).frames(range(reference.shape[2]), (reference.shape[1], *reference.shape[3:]))
    used = build_solver(solver_name, engine.backbone.scheduler, 10)
    levels = used.levels
    assert levels is not None and controlled.any()
    skipped_steps, clamped = phases.count("skipped"), phases.count("clamped")
    for done, latents in enumerate(watch.latents[1 : 1 + clamped], skipped_steps + 1):
        scale = 1.0 if used.initial_scale < 1.5 else 1 / levels[done].alpha
        expected = scale * (levels[done].alpha * reference + levels[done].sigma * noise)
        torch.testing.assert_close(latents[controlled], expected[controlled], atol=2e-3, rtol=2e-3)
    assert not torch.allclose(
        watch.latents[-1][controlled], reference[controlled], atol=1e-2
    )  # the model denoises freely after `strong`


@pytest.mark.parametrize("weak", [0.97, 0.7])
@pytest.mark.parametrize("solver", ["euler", "heun", "dpm++2m", "unipc", "ddim"])
def test_dual_clock_begins_in_step_with_the_solver(
    name: str, solver: str, weak: float, engine_of: EngineOf, tmp_path: Path
) -> None:
    """With a model that knows the noise, solvers reach the reference from wherever they begin (except deis)."""
    engine = engine_of(name)
    kind = engine.backbone.noise_schedule.kind
    if solver not in solver_names(kind):
        return  # refused, as test_solvers holds
    watch, oracle = Watch(), Oracle(kind)
    motion = {
        "motion": Camera(pan=6),
        "motion_backend": f"dual_clock:{weak},{weak - 0.05}",
        "first_frame": first_frame_file(name, tmp_path),
    }
    settings = options(name, guidance_scale=1.0, steps=12, solver=solver, **motion)
    try:
        engine.generate(PROMPT, **settings, techniques=[watch, oracle])
    except InputError as error:
        assert "expert" in str(error) and weak == 0.7  # nothing is clamped across experts
        return
    except NumericsError as error:
        assert "flat" in str(error) or "black" in str(error)  # frames of the tiny VAE do not matter here
    final, reference = watch.latents[-1], oracle.reference
    assert float((final - reference).norm() / reference.norm()) < 0.12


def test_dual_clock_takes_the_plain_renders_first_frame(name: str, engine_of: EngineOf, tmp_path: Path) -> None:
    engine = engine_of(name)
    plain = engine.generate(PROMPT, **options(name))
    import cv2

    cv2.imwrite(str(tmp_path / "first.png"), plain.frames[0][..., ::-1])
    settings = options(name, motion=DRAG, motion_backend="dual_clock")
    given = engine.generate(PROMPT, **settings, first_frame=str(tmp_path / "first.png"))
    assert np.array_equal(engine.generate(PROMPT, **settings).frames, given.frames)


@pytest.mark.parametrize("backend", ["warped_noise", "dual_clock"])
def test_a_motion_is_rendered_again_from_its_manifest(name: str, backend: str, engine_of: EngineOf) -> None:
    engine = engine_of(name)
    video = engine.generate(PROMPT, **options(name, motion=DRAG + Camera(zoom=1.2), motion_backend=backend))
    assert video.manifest is not None
    again = engine.render(RenderRequest.from_dict(video.manifest["request"]))
    assert np.array_equal(video.frames, again.frames) and again.manifest is not None
    assert again.manifest["request"] == video.manifest["request"]
    figures = video.manifest["measured"]["motion"]
    assert figures["backend"] == backend and {"track_px", "floor_px", "error_px"} <= set(figures)
    assert video.manifest["request"]["motion_backend"].startswith(
        f"{backend}:"
    )  # nothing is left to defaults that may change


def test_a_global_motion_has_its_own_noise_levels(
    name: str, engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(name)
    usual = dataclasses.replace(engine.backbone.training, dual_clock=(0.9, 0.7), dual_clock_global=None)
    for training, motion, levels in (
        (usual, Camera(pan=4), "0.9,0.7"),
        (dataclasses.replace(usual, dual_clock_global=(0.8, 0.1)), Camera(pan=4), "0.8,0.1"),
        (dataclasses.replace(usual, dual_clock_global=(0.8, 0.1)), DRAG, "0.9,0.7"),
    ):
        monkeypatch.setattr(engine.backbone, "training", training)
        assert recorded_backend(engine, name, motion, motion_backend="dual_clock") == f"dual_clock:{levels}"
    assert recorded_backend(engine, name, Camera(pan=4), motion_backend="dual_clock:0.6,0.5") == "dual_clock:0.6,0.5"


@pytest.mark.parametrize(
    ("training", "changed", "backend"),
    [
        ({"warped_noise": False}, {}, "dual_clock"), ({"warped_noise": True}, {}, "warped_noise"),
        ({"warped_noise": True}, {"first_frame": "x.png"}, "dual_clock"),
        ({"warped_noise": True, "motion_backend_global": "dual_clock"}, {}, "warped_noise"),
        ({"warped_noise": True, "motion_backend_global": "dual_clock"}, {"motion": Camera(pan=4)}, "dual_clock"),
        ({"warped_noise": True, "motion_backend_global": "dual_clock"}, {"motion": DRAG + Camera(pan=4)}, "dual_clock"),
    ],
)  # fmt: skip
def test_the_backend_of_a_motion_follows_the_training_and_the_defaults(
    name: str,
    training: dict[str, Any],
    changed: dict[str, Any],
    backend: str,
    engine_of: EngineOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = engine_of(name)
    monkeypatch.setattr(engine.backbone, "training", dataclasses.replace(engine.backbone.training, **training))
    motion, more = changed.get("motion", DRAG), {key: value for key, value in changed.items() if key != "motion"}
    found = request(engine, name, motion, **more).motion
    assert found is not None and found.control.backend == backend


@pytest.mark.parametrize("backend", ["warped_noise", "dual_clock:0.9,0.5"])
def test_a_motion_works_with_every_other_technique(name: str, backend: str, engine_of: EngineOf) -> None:
    settings = options(name, steps=8, motion=DRAG, motion_backend=backend)
    video = engine_of(name).generate(PROMPT, **settings, propagate="every:2", attention="adaspa:0.5")
    assert video.manifest is not None
    done = [row for row in video.manifest["plan"] if row["motion"] != "skipped"]
    assert done[0]["key"] and {"motion", "propagation", "attention"} <= set(video.manifest["measured"])


def test_strength_0_of_dual_clock_is_the_plain_render(name: str, engine_of: EngineOf) -> None:
    plain = engine_of(name).generate(PROMPT, **options(name))
    moved = engine_of(name).generate(
        PROMPT, **options(name, motion=DRAG, motion_backend="dual_clock", motion_strength=0.0)
    )
    assert np.array_equal(plain.frames, moved.frames)


def test_rolling_back_preserves_clamped_steps(name: str, engine_of: EngineOf) -> None:
    """Under max_error a span may be rolled back: the motion is then clamped at the same steps again."""
    settings = options(name, steps=16, motion=DRAG, motion_backend="dual_clock:0.9,0.3", guidance_scale=1.0)
    video = engine_of(name).generate(PROMPT, **settings, propagate={"max_error": 1e-6, "roll_back": True})
    plain = engine_of(name).generate(PROMPT, **settings)
    assert np.abs(video.frames.astype(int) - plain.frames.astype(int)).max() <= 1


@pytest.mark.parametrize(
    "edges", [Drag((8, 8, 200), [(8, 8), (20, 16)]) + Camera(pan=4), Drag((8, 8, 4), [(8, 8), (24, 24)])]
)
def test_a_failing_measurement_does_not_lose_the_render(name: str, edges: Motion, engine_of: EngineOf) -> None:
    video = engine_of(name).generate(PROMPT, **options(name, motion=edges, motion_backend="warped_noise"))
    assert video.manifest is not None and video.manifest["measured"]["motion"]["dynamic_px"] >= 0


def test_clips_of_a_batch_have_the_same_motion_and_their_own_first_frames(name: str, engine_of: EngineOf) -> None:
    engine, settings = engine_of(name), options(name, motion=DRAG, motion_backend="dual_clock", guidance_scale=1.0)
    batch = engine.generate([PROMPT, "a blue square"], **settings)
    alone = engine.generate("a blue square", **{**settings, "seed": 3})
    assert np.abs(batch[1].frames.astype(int) - alone.frames.astype(int)).max() <= 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"noise": "diffusers", "motion_backend": "warped_noise"}, "diffusers", id="the library's noise"),
        pytest.param({"motion_backend": "warp"}, "motion backend", id="an unknown backend"),
        pytest.param({"motion_backend": "dual_clock:0.3,0.6"}, "strong <= weak", id="clocks the wrong way round"),
        pytest.param({"motion_strength": 1.5}, "motion_strength=1.5", id="too strong"),
        pytest.param({"motion": [{"kind": "drag", "path": [[400, 8], [1, 1]]}]}, "outside", id="a path from outside"),
        pytest.param({"motion": [{"kind": "darg"}]}, "drag", id="a kind with a typo"),
        pytest.param({"motion": None, "motion_strength": 0.5}, "without a motion", id="strength without a motion"),
        pytest.param(
            {"motion_backend": "warped_noise", "first_frame": "x.png"}, "dual_clock",
            id="a first frame that noise cannot use",
        ),
        pytest.param({"motion_backend": "dual_clock", "steps": 1}, "clamp a motion", id="one step"),
        pytest.param({"motion": [{"kind": "camera", "zoom": 1e200}]}, "beyond", id="a zoom beyond all bounds"),
        pytest.param({"motion": [{"kind": "cut_drag", "sprites": 3}]}, "sprites=3", id="sprites that are not a list"),
        pytest.param({"motion": [{"kind": ["drag"]}]}, "kind", id="a kind that is not a text"),
        pytest.param({"first_frame": "nowhere.png", "motion_backend": "dual_clock"}, "nowhere.png", id="no such file"),
    ],
)  # fmt: skip
def test_wrong_motion(name: str, settings: dict[str, Any], message: str, engine_of: EngineOf) -> None:
    with pytest.raises(InputError, match=message):
        engine_of(name).generate(PROMPT, **{**options(name, motion=DRAG), **settings})


def test_a_first_frame_of_another_size_is_refused(name: str, engine_of: EngineOf, tmp_path: Path) -> None:
    first = first_frame_file(name, tmp_path, wider=8)
    with pytest.raises(InputError, match="give an image of the clip's size"):
        engine_of(name).generate(
            PROMPT, **options(name, motion=DRAG, motion_backend="dual_clock", first_frame=str(first))
        )


def test_the_technique_stays_within_the_first_expert(name: str, engine_of: EngineOf) -> None:
    """A motion clamped into the second expert's steps is undone by it (Wan 2.2)."""
    engine = engine_of(name)
    planned = plan_motion(request(engine, name, DRAG, motion_backend="dual_clock:0.9,0.05"), engine.backbone)
    assert planned is not None
    frames, width, height = VARIANTS[name].clips[0]
    technique = DualClockTechnique([planned], [np.zeros((height, width, 3), np.uint8)], engine.backbone)
    rows = [StepRow(i, 1000.0 - 100 * i, None, int(i > 4), 1.0) for i in range(10)]
    solver = build_solver(None, engine.backbone.scheduler, 10)
    text = Conditioning(torch.zeros(1, 1, 1))
    clip = engine.backbone.open(ClipSpec(frames, height, width, 10, "batched"), text, [AddressedNoise(1)], solver)
    state = LoopState(clip, torch.zeros_like(clip.initial), 0)
    technique.begin(engine.backbone, rows, replace(state))
    assert [row.motion for row in rows] == ["skipped"] + ["clamped"] * 3 + ["free"] * 6


@pytest.mark.parametrize("solver", ["own", "heun"])
def test_the_last_step_is_held_in_part(name: str, solver: str, engine_of: EngineOf, tmp_path: Path) -> None:
    """If the strong level lies within it, controlled pixels move towards the reference by the fraction above it."""
    engine, first = engine_of(name), first_frame_file(name, tmp_path)
    if engine.backbone.expert(1.0, 1000):
        return  # nothing is clamped across experts, as another test holds
    planned = plan_motion(request(engine, name, Camera(pan=6), motion_backend="dual_clock"), engine.backbone)
    assert planned is not None
    made = DualClockTechnique([planned], [read_rgba_image(first)[..., :3]], engine.backbone)
    plan_rows: list[StepRow] = []

    def away(strong: float) -> float:
        """Final distance of the controlled pixels from the reference."""
        watch = Watch()
        watch.begin = lambda backbone, plan, state: plan_rows.extend(plan)  # type: ignore[method-assign]
        motion = {"motion": Camera(pan=6), "motion_backend": f"dual_clock:0.9,{strong!r}", "first_frame": first}
        settings = options(name, guidance_scale=1.0, steps=5, solver=None if solver == "own" else solver, **motion)
        try:
            engine.generate(PROMPT, **settings, techniques=[watch])
        except NumericsError as error:
            assert "flat" in str(error) or "black" in str(error)  # frames of the tiny VAE do not matter here
        return float((watch.latents[-1] - made._reference)[made._mask.expand_as(watch.latents[-1]) > 0.999].norm())

    away(0.5)
    last = plan_rows[-1].timestep / engine.backbone.noise_schedule.train_steps
    free, *held = (away(part * last) for part in (1.0, 0.5, 0.1))
    assert held == pytest.approx([0.5 * free, 0.1 * free], rel=1e-3) and free > 0


def test_free_steps_of_a_global_motion_are_unguided_at_the_end(name: str, engine_of: EngineOf) -> None:
    heard: list[float] = []

    class Heard(Technique):
        def after_step(self, row: StepRow, state: LoopState) -> LoopState:
            heard.append(row.guidance_scale)
            return state

    for motion, strength, last in ((Camera(pan=6), 1.0, 1.0), (Camera(pan=6), 0.5, 3.0), (DRAG, 1.0, 5.0)):
        heard.clear()
        moved = {"motion": motion, "motion_strength": strength, "motion_backend": "dual_clock:0.9,0.3"}
        video = engine_of(name).generate(
            PROMPT, **options(name, steps=8, guidance_scale=5.0, **moved), techniques=[Heard()]
        )
        assert video.manifest is not None
        rows = [row for row in video.manifest["plan"] if row["motion"] != "skipped"]
        assert heard == [row["guidance_scale"] for row in rows] and heard[-1] == last
        assert all(row["guidance_scale"] == 5.0 for row in rows if row["motion"] == "clamped" or row["timestep"] >= 250)


def first_frame_file(name: str, folder: Path, wider: int = 0) -> Path:
    import cv2

    _, width, height = VARIANTS[name].clips[0]
    values = np.random.default_rng(0).integers(0, 255, (height, width + wider, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "first.png"), values)
    return folder / "first.png"
