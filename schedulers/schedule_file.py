"""Noise schedule of a diffusers scheduler's configuration: plain numbers, read without torch.

For refusing a solver or a number of steps before anything is loaded. Sampling reads the scheduler itself
(`diffusers_solver.read_noise_schedule`), whose alphas are rounded to fp32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate
from operator import mul
from typing import Any

from .parametrization import FLOW
from .solver import NoiseSchedule

_TRAIN_STEPS = 1000  # the default of every class


def read_schedule_file(class_name: str, config: Mapping[str, Any]) -> NoiseSchedule:
    """The noise schedule. Its alphas are empty where the configuration does not give the betas."""
    kind, steps = prediction_kind_of(class_name, config), int(config.get("num_train_timesteps", _TRAIN_STEPS))
    if kind == FLOW:
        return NoiseSchedule(kind, steps, shift=flow_shift_of(config))
    return NoiseSchedule(kind, steps, alphas=_alphas(steps, config))


def prediction_kind_of(class_name: str, config: Mapping[str, Any]) -> str:
    """What the model behind a scheduler of this class predicts, one of `parametrization.KINDS`."""
    kind = config.get("prediction_type", "epsilon")
    return FLOW if kind == "flow_prediction" or class_name.startswith("FlowMatch") else str(kind)


def flow_shift_of(config: Mapping[str, Any]) -> float:
    """By how much a flow model's sigmas are shifted towards noise; 1: not at all."""
    return float(config.get("flow_shift", config.get("shift", 1.0)))


def _alphas(steps: int, config: Mapping[str, Any]) -> tuple[float, ...]:
    """sqrt of the cumulated product of 1 - beta per timestep; empty for another schedule of betas than these two."""
    power = {"linear": 1, "scaled_linear": 2}.get(str(config.get("beta_schedule")))
    if power is None or config.get("trained_betas") is not None or not {"beta_start", "beta_end"} <= set(config):
        return ()
    first, last = (float(config[name]) ** (1 / power) for name in ("beta_start", "beta_end"))
    betas = ((first + (last - first) * step / max(1, steps - 1)) ** power for step in range(steps))
    alphas = [math.sqrt(product) for product in accumulate((1 - beta for beta in betas), mul)]
    if config.get("rescale_betas_zero_snr"):  # 2305.08891, algorithm 1
        alphas = [(alpha - alphas[-1]) * alphas[0] / (alphas[0] - alphas[-1]) for alpha in alphas]
    return tuple(alphas)
