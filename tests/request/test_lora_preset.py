"""Few-step LoRAs and LoRAs of warped noise in a request: what they fill in, and what the request keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from videogen import Engine, InputError, RenderRequest, UnsupportedError
from videogen.motion.camera import Camera
from videogen.motion.control import MotionControl
from videogen.request.resolved import ResolvedRequest


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load("embedded", device="cpu")


@pytest.fixture
def speed(tmp_path: Path) -> str:
    return write(tmp_path / "speed.safetensors", steps="4", guidance_scale="1", shift="5", solver="euler-simple")


def write(path: Path, **metadata: str) -> str:
    save_file({path.stem: torch.ones(1)}, path, {f"videogen.{name}": text for name, text in metadata.items()})
    return str(path)


def resolve(engine: Engine, *loras: str, **options: Any) -> ResolvedRequest:
    return RenderRequest("a red ball moves right", loras=list(loras), **options).resolve(engine.backbone)


def sampling(resolved: ResolvedRequest) -> tuple[Any, ...]:
    return resolved.steps, resolved.guidance_scale, resolved.shift, resolved.solver


def test_unset_fields_are_filled_in_and_recorded(engine: Engine, speed: str) -> None:
    resolved = resolve(engine, speed)
    assert sampling(resolved) == (4, 1.0, 5.0, "euler-simple")
    assert [note for note in resolved.notes if "speed.safetensors is a LoRA for steps=4, guidance_scale=1.0" in note]
    stored = resolved.to_dict()
    assert (stored["steps"], stored["guidance_scale"], stored["shift"], stored["solver"]) == (
        4,
        1.0,
        5.0,
        "euler-simple",
    )
    again = RenderRequest.from_dict(stored).resolve(engine.backbone)
    assert again.to_dict() == stored and sampling(again) == sampling(resolved)
    plan = engine.backbone.build_solver(resolved.solver, 4, resolved.shift).timesteps
    assert torch.allclose(plan, torch.tensor([1000.0, 937.5, 833.333, 625.0]), atol=0.5), "a shift of 5"


def test_what_the_request_states_stays(engine: Engine, speed: str) -> None:
    assert sampling(resolve(engine, speed, steps=8, shift=3.0)) == (8, 1.0, 3.0, "euler-simple")
    resolved = resolve(engine, speed, steps=8, guidance_scale=2.0, shift=3.0, solver="unipc")
    assert sampling(resolved) == (8, 2.0, 3.0, "unipc") and not [note for note in resolved.notes if "LoRA" in note]


@pytest.mark.parametrize("suffix", ["@0-0.5", ":0"])
def test_a_lora_of_a_part_of_the_run_fills_in_nothing(suffix: str, engine: Engine, speed: str) -> None:
    plain, found = resolve(engine), resolve(engine, speed + suffix)
    assert sampling(found) == sampling(plain)
    assert bool([note for note in found.notes if "on for a part" in note]) == suffix.startswith("@")


def test_one_expert_alone_fills_in_nothing(engine: Engine, speed: str) -> None:
    assert sampling(resolve(engine, f"low={speed}")) == sampling(resolve(engine))
    assert sampling(resolve(engine, f"high={speed}", f"low={speed}")) == (4, 1.0, 5.0, "euler-simple")


def test_two_that_state_different_steps(engine: Engine, speed: str, tmp_path: Path) -> None:
    other = write(tmp_path / "other.safetensors", steps="8")
    with pytest.raises(InputError, match=r"the LoRAs state steps=4 and steps=8 \(other.safetensors\); set steps"):
        resolve(engine, speed, other)
    assert resolve(engine, speed, other, steps=6).steps == 6


def test_a_shift_is_for_flow_models() -> None:
    unet = Engine.load("embedded-unet", device="cpu")
    with pytest.raises(UnsupportedError, match="shift=3 is for flow-matching models; 'embedded-unet' predicts"):
        RenderRequest("a red ball", shift=3.0).resolve(unet.backbone)


def test_a_lora_of_warped_noise_chooses_the_backend(tmp_path: Path, engine: Engine) -> None:
    """On a model that was not trained with warped noise, whose default is dual clock."""
    flow = write(tmp_path / "T2V5B_blendnorm_i18000_lora_weights.safetensors")
    unet = Engine.load("embedded-unet", device="cpu")
    untrained = {"motion": Camera(pan=4)}
    trained = unet.backbone.training
    try:
        unet.backbone.training = type(trained)()
        assert resolve(unet, **untrained).motion.control.backend == "dual_clock"  # type: ignore[union-attr]
        found = resolve(unet, flow, **untrained)
        assert found.motion is not None and found.motion.control == MotionControl("warped_noise", "compat")
        assert found.follows_noise and [note for note in found.notes if "which this render uses" in note]
        chosen = resolve(unet, flow, motion_backend="dual_clock", **untrained)
        assert chosen.motion is not None and chosen.motion.control.backend == "dual_clock"
        assert [note for note in chosen.notes if "this render uses dual_clock, as requested" in note]
        assert [note for note in resolve(unet, flow).notes if "the request has none: give one" in note]
        long = resolve(unet, flow, frames=60, window=16, **untrained)
        assert long.is_long and long.motion is not None and long.motion.control.method == "compat"
    finally:
        unet.backbone.training = trained
