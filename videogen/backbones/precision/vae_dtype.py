"""Dtype of a VAE whose denoiser computes in another: the layers of some VAEs overflow in 16-bit floats."""

from __future__ import annotations

from typing import Any

import torch

from videogen.core.errors import UnsupportedError

from .component import Chosen
from .table import Precision

#: VAEs whose pipelines convert latents to the VAE's dtype before they decode, and pixels before they encode
_CONVERTED = (
    "AutoencoderKLAllegro", "AutoencoderKLCosmos", "AutoencoderKLHunyuanVideo15", "AutoencoderKLWan",
)  # fmt: skip
#: pipelines with such a VAE that do not
_NOT_CONVERTED = ("Cosmos2_5_TransferPipeline", "MotifVideoImage2VideoPipeline")
#: of these VAEs: those that diffusers' own examples load in fp32 next to a 16-bit denoiser
_OVERFLOWS_IN_FP16 = ("AutoencoderKLWan",)


def component_dtype(name: str, model_class: Any, pipeline: str, dtype: torch.dtype, chosen: Chosen) -> torch.dtype:
    """The dtype of a component. pipeline: the name of its class; dtype: of the run; chosen: a precision per component,
    where `vae` may have a dtype of its own. UnsupportedError for a VAE that is handed latents of the run's dtype."""
    if name != "vae":
        return dtype
    row, kind = chosen.get(name), model_class.__name__
    if not isinstance(row, Precision) or not row.dtype:
        overflows = dtype == torch.float16 and kind in _OVERFLOWS_IN_FP16
        return torch.float32 if overflows and converts_latents(pipeline, kind) else dtype
    own: torch.dtype = getattr(torch, row.dtype)
    if own != dtype and not converts_latents(pipeline, kind):
        raise UnsupportedError(
            f"precision of 'vae': {row.name!r}, but {pipeline} gives its {kind} latents in the dtype of the run "
            f"({str(dtype).removeprefix('torch.')}); leave the VAE's out, or give the run dtype={row.dtype!r}"
        )
    return own


def converts_latents(pipeline: str, vae: str) -> bool:
    """Whether a pipeline converts latents and pixels to the dtype of its VAE. Both are names of classes."""
    return vae in _CONVERTED and pipeline not in _NOT_CONVERTED
