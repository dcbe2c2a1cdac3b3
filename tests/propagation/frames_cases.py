"""Models for the tests of propagation across frames, and how they are called."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.attention.models import FRAMES, TINY, Tiny, noise
from videogen.propagation.frame_subset import FrameSubset

FITTING = (
    "WanTransformer3DModel", "WanVACETransformer3DModel", "SkyReelsV2Transformer3DModel",
    "ChronoEditTransformer3DModel",
    "LTXVideoTransformer3DModel", "AllegroTransformer3DModel", "CosmosTransformer3DModel",
)  # fmt: skip
BY_NAME = {tiny.name: tiny for tiny in TINY}
UNETS = [tiny for tiny in TINY if "UNet" in tiny.name]
DITS = [BY_NAME[name] for name in FITTING]
REFUSED = [tiny for tiny in TINY if tiny not in UNETS and tiny not in DITS]
ALL = range(FRAMES)
EVEN, ODD = (0, 2), (1, 3)
LAYERS = 2  # blocks of each tiny transformer


def named(tinies: list[Tiny]) -> Any:
    return pytest.mark.parametrize("tiny", tinies, ids=[tiny.name for tiny in tinies])


@functools.cache
def model_of(name: str) -> nn.Module:
    """Built once; each test detaches what it attaches, and asserts that."""
    return BY_NAME[name].build()


def run(model: nn.Module, inputs: dict[str, Any]) -> Tensor:
    with torch.no_grad():
        return model(**inputs)[0]


def subset(
    frames: FrameSubset, model: nn.Module, inputs: dict[str, Any], fresh: Any = EVEN, branch: str = "a"
) -> Tensor:
    with frames.select(fresh, FRAMES, branch):
        return run(model, inputs)


def moved(inputs: dict[str, Any], by: float = 0.3) -> dict[str, Any]:
    name = "sample" if "sample" in inputs else "hidden_states"
    return {**inputs, name: inputs[name] + by * noise(*inputs[name].shape, seed=9)}


def untouched(model: nn.Module) -> bool:
    return not any("forward" in vars(module) for module in model.modules())
