"""Fixed latents: frames whose end is known arrive there, for every solver and kind of prediction."""

from __future__ import annotations

import pytest
import torch


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "flow", "sample"])
@pytest.mark.parametrize("solver", ["ddim", "euler", "euler-a", "unipc", "dpm++2m", "dpm++2m-sde", "heun", "lcm"])
def test_fixed_frames_arrive_whatever_the_solver(solver: str, kind: str) -> None:
    """In a straight line but for what a stochastic solver adds; at the end exactly."""
    from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

    from videogen.sampling.loop import LoopState, step
    from videogen.sampling.step_plan import StepRow
    from videogen.schedulers import AddressedNoise, make_solver, solver_names
    from videogen.techniques.fixed_latents import StraightReplay

    if solver not in solver_names(kind):
        return
    own = (
        FlowMatchEulerDiscreteScheduler(shift=3.0)
        if kind == "flow"
        else DDIMScheduler(prediction_type=kind, clip_sample=False)
    )
    scheduler = make_solver(solver, own)
    scheduler.set_timesteps(12)
    known = torch.randn(1, 4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    scale = float(getattr(scheduler, "init_noise_sigma", 1.0))
    source = AddressedNoise(5)
    state = LoopState(source.frames(range(5), (4, 8, 8)) * scale, 0, scheduler, [source])
    technique, steps = StraightReplay([0, 1, 2], known), len(scheduler.timesteps)
    technique.begin(None, [None] * steps, state)  # type: ignore[list-item,arg-type]
    for index in range(steps):
        row = StepRow(index, float(scheduler.timesteps[index]), None, 0, 1.0)
        seen = (
            scheduler.scale_model_input(state.latents, scheduler.timesteps[index])
            if hasattr(scheduler, "scale_model_input")
            else None
        )
        assert seen is None or bool(seen.isfinite().all())
        state = step(state, technique.prediction(row, state, torch.zeros_like(state.latents)))
        if index == steps - 1:
            near = float((state.latents[:, :, :3] - known).norm() / known.norm())
            assert near < 0.2, f"{near:.3f} off before it is put right"
        state = technique.after_step(row, state)
    assert torch.equal(state.latents[:, :, :3], known)


# --- refusals
# -----------------------------------------------------------------------------------------------------------------
