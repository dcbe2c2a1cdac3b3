"""What must never reach a file: NaN, Inf and flat black frames; and a device's memory error in words of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from videogen.backbones.base import Backbone
from videogen.core.errors import NumericsError, OutOfMemoryError

_FLAT = 2  # of 255


def check_finite(values: torch.Tensor, where: str, dtype: torch.dtype) -> None:
    """NumericsError, with the likely cause, where a tensor holds NaN or Inf."""
    if bool(torch.isfinite(values).all()):
        return
    cause = "float16 overflows in many video models: use bfloat16 or float32" if dtype == torch.float16 else (
        "the weights may be damaged, or guidance_scale is far too high for this model and solver"
    )  # fmt: skip
    raise NumericsError(f"NaN or Inf at {where}; {cause}")


def check_not_flat(frames: torch.Tensor) -> None:
    """NumericsError where a whole clip (uint8 [f, h, w, 3]) is black or any other one colour: saved, it would hide a
    failure."""
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
    """Turn an out-of-memory error of the device or of Python into ours, naming the stage and what helps."""
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
    """The VAE decodes in tiles within this block, where asked."""

    def __init__(self, backbone: Backbone, on: bool) -> None:
        self._vae: Any = backbone.components().get("vae") if on else None

    def __enter__(self) -> None:
        if self._vae is not None:
            self._vae.enable_tiling()

    def __exit__(self, *_: object) -> None:
        if self._vae is not None:
            self._vae.disable_tiling()
