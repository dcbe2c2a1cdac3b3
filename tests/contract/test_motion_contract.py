"""What every family owes a motion: exact where it is off, the noise and the reference that were promised where it is on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.contract.families import VARIANTS
from videogen import Engine, InputError
from videogen.engine.dual_clock import DualClockTechnique
from videogen.engine.loop import LoopState
from videogen.engine.motion import plan_motion
from videogen.engine.plan import StepRow
from videogen.engine.request import RenderRequest
from videogen.engine.techniques import Technique
from videogen.motion import Camera, Drag, Motion
from videogen.motion.latents import latent_mask
from videogen.schedulers import WarpedNoise

PROMPT = "a red ball"
DRAG = Drag((8, 8, 6), [(8, 8), (20, 16)])
pytestmark = pytest.mark.parametrize("name", VARIANTS)
EngineOf = Callable[[str], Engine]


class Watch(Technique):
    """Keeps the latents before the first step and after each."""

    def __init__(self) -> None:
        self.latents: list[torch.Tensor] = []

    def begin(self, backbone: Any, plan: list[StepRow], state: LoopState) -> None:
        self.latents.append(state.latents.clone())

    def after_step(self, row: StepRow, state: LoopState) -> LoopState:
        self.latents.append(state.latents.clone())
        return state


def options(name: str, **more: Any) -> dict[str, Any]:
    frames, width, height = VARIANTS[name].clips[0]
    return {"frames": frames, "size": (width, height), "steps": 4, "seed": 2, **more}


def request(engine: Engine, name: str, motion: Motion, **more: Any) -> RenderRequest:
    frames, width, height = VARIANTS[name].clips[0]
    asked = RenderRequest(PROMPT, frames=frames, width=width, height=height, steps=4, motion=motion, **more)
    return asked.resolve(engine.backbone)


def test_strength_0_of_warped_noise_is_the_plain_render(name: str, engine_of: EngineOf) -> None:
    plain = engine_of(name).generate(PROMPT, **options(name))
    moved = engine_of(name).generate(PROMPT, **options(name, motion=DRAG, motion_backend="warped_noise", motion_strength=0.0))
    assert np.array_equal(plain.frames, moved.frames)


def test_warped_noise_is_what_the_run_begins_from(name: str, engine_of: EngineOf) -> None:
    engine, watch = engine_of(name), Watch()
    settings = options(name, motion=DRAG, motion_backend="warped_noise", motion_strength=0.7, guidance_scale=1.0)
    engine.generate(PROMPT, **settings, techniques=[watch])
    geometry, (frames, width, height) = engine.backbone.geometry, VARIANTS[name].clips[0]
    planned = plan_motion(request(engine, name, DRAG), engine.backbone)
    assert planned is not None
    source = WarpedNoise(
        planned.plan, 2, spatial=geometry.spatial, temporal=geometry.temporal, causal=geometry.single_first, strength=0.7
    )
    _, channels, count, rows, columns = geometry.shape(frames, height, width)
    noise = source.frames(range(count), (channels, rows, columns))
    scale = float((watch.latents[0] / noise).median())
    torch.testing.assert_close(watch.latents[0], scale * noise, atol=1e-5, rtol=1e-5)


def test_dual_clock_keeps_the_told_parts_until_strong(name: str, engine_of: EngineOf, tmp_path: Path) -> None:
    """Where the mask is 1 the latents of a held step are the reference at that level, whatever the model says."""
    engine, watch = engine_of(name), Watch()
    first = picture(name, tmp_path)
    motion = {"motion": Camera(pan=6), "motion_backend": "dual_clock:0.9,0.4", "motion_picture": str(first)}
    settings = options(name, guidance_scale=1.0, steps=10, **motion)
    video = engine.generate(PROMPT, **settings, techniques=[watch])
    assert video.manifest is not None
    told = [row["motion"] for row in video.manifest["plan"]]
    assert told == sorted(told, key=["skipped", "held", "free"].index) and "held" in told and told[-1] == "free"
    planned = plan_motion(request(engine, name, Camera(pan=6), motion_backend="dual_clock:0.9,0.4"), engine.backbone)
    assert planned is not None
    geometry = engine.backbone.geometry
    grid = {"spatial": geometry.spatial, "temporal": geometry.temporal, "single_first": geometry.single_first}
    mask = torch.from_numpy(latent_mask(planned.plan, **grid))
    whole = (mask > 0.999).expand(watch.latents[0].shape)
    assert whole.any()
    others = engine.generate("another prompt", **settings, techniques=[other := Watch()])
    held = told.count("held")
    for index in range(1, 1 + held):
        assert torch.equal(watch.latents[index][whole], other.latents[index][whole])
        assert not torch.equal(watch.latents[index][~whole], other.latents[index][~whole]) or whole.all()
    assert not np.array_equal(video.frames, others.frames)


def test_dual_clock_takes_the_plain_renders_first_frame(name: str, engine_of: EngineOf, tmp_path: Path) -> None:
    engine = engine_of(name)
    plain = engine.generate(PROMPT, **options(name))
    import cv2

    cv2.imwrite(str(tmp_path / "first.png"), plain.frames[0][..., ::-1])
    settings = options(name, motion=DRAG, motion_backend="dual_clock")
    found = [engine.generate(PROMPT, **settings, **more) for more in ({}, {"motion_picture": str(tmp_path / "first.png")})]
    assert np.array_equal(found[0].frames, found[1].frames)


@pytest.mark.parametrize("backend", ["warped_noise", "dual_clock"])
def test_a_motion_is_rendered_again_from_its_manifest(name: str, backend: str, engine_of: EngineOf) -> None:
    engine = engine_of(name)
    video = engine.generate(PROMPT, **options(name, motion=DRAG + Camera(zoom=1.2), motion_backend=backend))
    assert video.manifest is not None
    again = engine.render(RenderRequest.from_dict(video.manifest["request"]))
    assert np.array_equal(video.frames, again.frames) and again.manifest is not None
    assert again.manifest["request"] == video.manifest["request"]
    figures = video.manifest["measured"]["motion"]
    assert figures["backend"] == backend and figures["track_px"] >= 0 and figures["floor_px"] >= 0


@pytest.mark.parametrize("backend", ["warped_noise", "dual_clock:0.9,0.5"])
def test_a_motion_goes_with_every_other_technique(name: str, backend: str, engine_of: EngineOf) -> None:
    settings = options(name, steps=8, motion=DRAG, motion_backend=backend)
    video = engine_of(name).generate(PROMPT, **settings, propagate="every:2", attention="adaspa:0.5")
    assert video.manifest is not None
    done = [row for row in video.manifest["plan"] if row["motion"] != "skipped"]
    assert done[0]["key"] and {"motion", "propagation", "attention"} <= set(video.manifest["measured"])


def test_clips_of_a_batch_share_the_motion_and_keep_their_own_picture(name: str, engine_of: EngineOf) -> None:
    engine, settings = engine_of(name), options(name, motion=DRAG, motion_backend="dual_clock", guidance_scale=1.0)
    batch = engine.generate([PROMPT, "a blue square"], **settings)
    alone = engine.generate("a blue square", **{**settings, "seed": 3})
    assert np.abs(batch[1].frames.astype(int) - alone.frames.astype(int)).max() <= 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"noise": "diffusers", "motion_backend": "warped_noise"}, "diffusers", id="the library's noise"),
        pytest.param({"motion_backend": "warp"}, "motion backend", id="no backend"),
        pytest.param({"motion_backend": "dual_clock:0.3,0.6"}, "strong <= weak", id="clocks the wrong way round"),
        pytest.param({"motion_strength": 1.5}, "motion_strength=1.5", id="too strong"),
        pytest.param({"motion": [{"kind": "drag", "path": [[400, 8], [1, 1]]}]}, "outside", id="a path that begins outside"),
        pytest.param({"motion": [{"kind": "darg"}]}, "drag", id="a kind with a typo"),
        pytest.param({"motion": None, "motion_strength": 0.5}, "without a motion", id="strength of nothing"),
        pytest.param({"motion_backend": "warped_noise", "motion_picture": "x.png"}, "dual_clock", id="a picture that noise cannot use"),
        pytest.param({"motion_picture": "nowhere.png", "motion_backend": "dual_clock"}, "nowhere.png", id="no such picture"),
    ],
)  # fmt: skip
def test_wrong_motion(name: str, settings: dict[str, Any], message: str, engine_of: EngineOf) -> None:
    with pytest.raises(InputError, match=message):
        engine_of(name).generate(PROMPT, **{**options(name, motion=DRAG), **settings})


def test_a_picture_of_another_size_is_refused(name: str, engine_of: EngineOf, tmp_path: Path) -> None:
    first = picture(name, tmp_path, wider=8)
    with pytest.raises(InputError, match="make them equal"):
        engine_of(name).generate(PROMPT, **options(name, motion=DRAG, motion_backend="dual_clock", motion_picture=str(first)))


def test_the_technique_stays_within_the_first_expert(name: str, engine_of: EngineOf) -> None:
    """A motion that is held into the second expert's steps comes back as what it replaced (Wan 2.2)."""
    engine = engine_of(name)
    planned = plan_motion(request(engine, name, DRAG, motion_backend="dual_clock:0.95,0.05"), engine.backbone)
    assert planned is not None
    frames, width, height = VARIANTS[name].clips[0]
    technique = DualClockTechnique(planned, [np.zeros((height, width, 3), np.uint8)], engine.backbone)
    rows = [StepRow(i, 1000.0 - 100 * i, None, int(i > 4), 1.0) for i in range(10)]
    from videogen.schedulers import make_solver

    solver = make_solver(None, engine.backbone.scheduler)
    state = LoopState(torch.zeros(engine.backbone.geometry.shape(frames, height, width)), 0, solver, [])
    technique.begin(engine.backbone, rows, replace(state))
    assert [row.motion for row in rows][:4] == ["held"] * 4 or rows[0].motion == "skipped"
    assert all(row.motion == "free" for row in rows if row.expert == 1)


def picture(name: str, folder: Path, wider: int = 0) -> Path:
    import cv2

    _, width, height = VARIANTS[name].clips[0]
    values = np.random.default_rng(0).integers(0, 255, (height, width + wider, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "first.png"), values)
    return folder / "first.png"
