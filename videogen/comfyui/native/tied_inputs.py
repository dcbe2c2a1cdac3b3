"""Inputs of a sampling run whose clips are tied to each other, and why some are refused."""

from __future__ import annotations

from typing import Any

import torch

from videogen.core.errors import InputError, UnsupportedError
from videogen.schedulers.samplers import SAMPLERS, sampler_name

from ..hooks.model_runs import RunContext

_CLIP_AXES = 5


def check_inputs(context: RunContext, noise: torch.Tensor, latents: torch.Tensor, mask: torch.Tensor | None) -> None:
    """InputError or UnsupportedError, with what to do, where clips cannot be extended by look-back."""
    if len(context.latent_shapes) > 1:
        raise UnsupportedError("Long Context cannot extend clips with sound: use a model without it")
    if noise.ndim != _CLIP_AXES:
        raise InputError(f"latents {list(noise.shape)} are no video; Long Context needs [batch, channel, frame, h, w]")
    if bool(latents.any()) or mask is not None:
        raise UnsupportedError("Long Context begins with an empty latent: use one, without a noise mask")
    if not bool(noise.any()) or float(context.sigmas[-1]) > 0:
        raise UnsupportedError(
            "Long Context needs all steps in one sampler: sample with one model, from the first to the last step"
        )
    name = sampler_name(context.sampler_name)
    if name in SAMPLERS and SAMPLERS[name].stochastic:
        raise UnsupportedError(
            f"sampler {name!r} adds noise of its own, so that overlapping frames would differ; use euler, dpmpp_2m, "
            "uni_pc or res_multistep"
        )
    found = sorted(set(_per_frame(getattr(context.guider, "conds", None) or {})))
    if found:
        raise UnsupportedError(
            f"the conditioning has {', '.join(found)}, for the frames of one clip; Long Context extends clips that are "
            "made from a text"
        )


def _per_frame(conds: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Names of conditions that describe frames."""
    return [
        name
        for group in conds.values()
        for one in group
        for name, value in one.items()
        if name == "control" or any(getattr(v, "ndim", 0) == _CLIP_AXES for v in _values(value))
    ]


def _values(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
