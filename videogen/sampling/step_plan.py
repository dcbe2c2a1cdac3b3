"""Step plan: a table of what happens at each step, recorded in the manifest."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from videogen.backbones.base import Backbone
from videogen.request.resolved import ResolvedRequest
from videogen.schedulers.solver import Solver


@dataclass(frozen=True)
class StepRow:
    """A step: its timestep and sigma as the solver has them, the expert that predicts, and its guidance.

    key: whether the entire model was evaluated, where propagation decides that; it is filled in while the plan runs.
    motion: under dual-clock sampling `skipped`, `clamped` (the controlled parts are put back after it), `partly` (a
    fraction of them is) or `free`. Where the entire frame moves, the last of these have less guidance than requested,
    or none. lora_weights: of each LoRA, where they change over the steps.
    """

    index: int
    timestep: float
    sigma: float | None
    expert: int
    guidance_scale: float
    key: bool | None = None
    motion: str | None = None
    lora_weights: tuple[float, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data; weights of LoRAs only where they change over the steps."""
        values = asdict(self)
        weights = values.pop("lora_weights")
        return values if weights is None else {**values, "lora_weights": list(weights)}


def make_plan(backbone: Backbone, solver: Solver, request: ResolvedRequest, first: int = 0) -> list[StepRow]:
    """The plan for a solver that is set up: one row per model call. first: index of its first row."""
    low_noise = request.guidance_scale if request.guidance_scale_2 is None else request.guidance_scale_2
    rows = []
    for index, timestep in enumerate(solver.timesteps):
        expert = backbone.expert(float(timestep), solver.train_steps)
        scale = low_noise if expert else request.guidance_scale
        rows.append(StepRow(first + index, float(timestep), solver.sigma(index), expert, float(scale)))
    return rows
