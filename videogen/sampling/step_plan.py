"""The step plan: one table that says what happens at which step. It stands in the manifest."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from videogen.backbones.base import Backbone
from videogen.request.resolved import ResolvedRequest


@dataclass(frozen=True)
class StepRow:
    """A step: its timestep and sigma as the solver has them, the expert that predicts, and the guidance it gets.

    key: whether the model was evaluated whole, where propagation decides that; it is filled in while the plan runs.
    motion: under dual-clock sampling `skipped`, `held` (the told parts are put back after it), `partly` (a share of
    them is) or `free`. Where the whole picture moves, the last of these are guided less than asked for, or not at all.
    """

    index: int
    timestep: float
    sigma: float | None
    expert: int
    guidance_scale: float
    key: bool | None = None
    motion: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def make_plan(backbone: Backbone, solver: Any, request: ResolvedRequest) -> list[StepRow]:
    """The plan for a solver whose timesteps are set."""
    sigmas = getattr(solver, "sigmas", None)
    low_noise = request.guidance_scale if request.guidance_scale_2 is None else request.guidance_scale_2
    rows = []
    for index, timestep in enumerate(solver.timesteps):
        expert = backbone.expert(float(timestep), solver.config.num_train_timesteps)
        scale = low_noise if expert else request.guidance_scale
        sigma = float(sigmas[index]) if sigmas is not None and len(sigmas) >= len(solver.timesteps) else None
        rows.append(StepRow(index, float(timestep), sigma, expert, float(scale)))
    return rows
