"""Strength of a hosted pipeline that begins with a video's latents: which fraction of the steps it makes."""

from __future__ import annotations

import math
from typing import Any

from videogen.core.errors import InputError

from ..clip_spec import ClipSpec
from .arguments import parameters_of

#: arguments that shorten the schedule, the first that a call has; `strength` of LTX is that of its conditions
_SHORTENING = ("denoise_strength", "strength")
#: an argument with which AnimateDiff makes all steps that are requested, whatever the strength
_ALL_STEPS = "enforce_inference_steps"


def check_strength(pipeline_class: Any, spec: ClipSpec, name: str) -> None:
    """InputError, with the least strength and the fewest steps, where a strength leaves no step to make. name: of the
    model."""
    known = parameters_of(pipeline_class)
    argument = next((one for one in _SHORTENING if one in known), None)
    if argument is None or not hasattr(pipeline_class, "get_timesteps"):
        return
    strength = spec.options.get(argument, known[argument].default)
    if not isinstance(strength, int | float):
        return
    made = math.ceil(strength) if spec.options.get(_ALL_STEPS) else int(spec.steps * strength)
    if made > 0:
        return
    more = "" if strength <= 0 else f", or at least {_fewest_steps(strength)} steps"
    raise InputError(
        f"{argument}={strength:g} of {spec.steps} steps leaves {name!r} no step to make; use a {argument} of at least "
        f"{_least_strength(spec.steps):g}{more}"
    )


def _least_strength(steps: int) -> float:
    """The least strength in thousandths, or finer for many steps, that makes one of so many steps."""
    unit = 10 ** max(3, len(str(steps)) + 1)
    count = -(-unit // steps)
    while int(steps * (count / unit)) < 1:
        count += 1
    return count / unit


def _fewest_steps(strength: float) -> int:
    steps = max(1, int(1 / strength))
    while int(steps * strength) < 1:
        steps += 1
    return steps
