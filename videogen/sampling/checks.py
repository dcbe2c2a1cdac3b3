"""Numerical checks: NaN, Inf and flat frames never reach a file; and out-of-memory errors with advice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from videogen.backbones.base import Backbone
from videogen.core.errors import NumericsError, OutOfMemoryError

_FLAT = 2  # of 255


def check_finite(values: torch.Tensor, where: str, dtype: torch.dtype) -> None:
    """Raise NumericsError, with the likely cause, for a tensor with NaN or Inf."""
    if bool(torch.isfinite(values).all()):
        return
    cause = "float16 overflows in many video models: use bfloat16 or float32" if dtype == torch.float16 else (
        "the weights may be damaged, or guidance_scale is far too high for this model and solver"
    )  # fmt: skip
    raise NumericsError(f"NaN or Inf at {where}; {cause}")


def check_not_flat(frames: torch.Tensor) -> None:
    """Raise NumericsError for a clip (uint8 [f, h, w, 3]) that is black or of any other single colour throughout."""
    colours = frames.flatten(0, 2)
    low, high = colours.amin(0), colours.amax(0)
    if int((high.int() - low.int()).max()) <= _FLAT:
        shade = "black" if int(high.max()) <= 4 else f"one flat colour, {tuple(high.tolist())}"
        raise NumericsError(
            f"all {frames.shape[0]} decoded frames are {shade} at decode; the model or its VAE may have overflowed "
            "(use float32 or bfloat16), its weights may be damaged, or guidance_scale is far too high"
        )


@contextmanager
def memory_errors(stage: str) -> Iterator[None]:
    """Turn out-of-memory errors of the device or of Python into OutOfMemoryError, with the stage and advice."""
    advice = "use fewer frames, a smaller size, --offload model, or --vae-tiling for the decode"
    try:
        yield
    except OutOfMemoryError:
        raise
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemoryError(f"out of memory at {stage}; {advice}") from error
    except RuntimeError as error:
        if "alloc" not in str(error).lower() or "memory" not in str(error).lower():
            raise
        raise OutOfMemoryError(f"out of memory at {stage}; {advice}") from error


class Tiling:
    """Context in which the VAE decodes in tiles, if `on`; after it the VAE does as before."""

    def __init__(self, backbone: Backbone, on: bool) -> None:
        vae: Any = backbone.components().get("vae")
        self._vae = vae if on and not getattr(vae, "use_tiling", False) else None

    def __enter__(self) -> None:
        if self._vae is not None:
            self._vae.enable_tiling()

    def __exit__(self, *_: object) -> None:
        if self._vae is not None:
            self._vae.disable_tiling()
