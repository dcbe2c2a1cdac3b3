"""Calls of the tiny video denoisers as a solver makes them: latents that change and timesteps that fall, step by
step."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as tree

from tests.attention.models import TINY, Tiny

UNETS = tuple(tiny for tiny in TINY if "UNet" in tiny.name)
TRANSFORMERS = tuple(tiny for tiny in TINY if "UNet" not in tiny.name)
STEPS = 5


def inputs_at(tiny: Tiny, step: int, **changes: Any) -> dict[str, Any]:
    """The arguments of the model call of a step."""
    given = tiny.inputs()
    name = "sample" if "sample" in given else "hidden_states"
    timestep = 900 - 150 * step
    before = given["timestep"]
    given["timestep"] = torch.full_like(before, timestep) if isinstance(before, torch.Tensor) else timestep
    given[name] = given[name] * (1 - 0.15 * step) + 0.1 * step
    return given | changes


def tensors(output: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree.tree_leaves(output) if isinstance(leaf, torch.Tensor)]


@torch.inference_mode()
def run(model: nn.Module, tiny: Tiny, steps: int = STEPS, **changes: Any) -> list[list[torch.Tensor]]:
    return [tensors(model(**inputs_at(tiny, step, **changes))) for step in range(steps)]


def equal(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


class Timesteps:
    """A stand-in for a diffusers scheduler, with the timesteps of `run`."""

    def __init__(self, steps: int = STEPS) -> None:
        self.timesteps = torch.tensor([900 - 150 * step for step in range(steps)])
        self.num_inference_steps = steps
        self.alphas_cumprod = torch.linspace(0.999, 0.01, 1000)
        self.config: dict[str, Any] = {"prediction_type": "epsilon"}
