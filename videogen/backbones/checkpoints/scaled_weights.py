"""Scaled weights of ComfyUI's fp8 files: each weight is stored in 8 bits and multiplied by a scale of its own.

The scales are tensors of the file. Without them a render is noise, so that they are applied when the file is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from videogen.core.errors import CheckpointError

from .tensors import Header

_SCALES = (".scale_weight", ".weight_scale")
#: other tensors of scaled weights, which are not needed to restore them
_OTHERS = (".scale_input", ".input_scale", ".comfy_quant")
_MARKER = "scaled_fp8"
_FLOAT8 = ("F8_E4M3", "F8_E5M2")


def is_of_scaling(name: str) -> bool:
    """Whether a tensor is no weight, but belongs to the scaling of one."""
    return name.endswith((*_SCALES, *_OTHERS)) or name == _MARKER or name.endswith(f".{_MARKER}")


def scale_of(name: str, names: Iterable[str]) -> str | None:
    """The name of a weight's scale; None where it has none."""
    return next((scale for kind in _SCALES if (scale := f"{name.removesuffix('.weight')}{kind}") in names), None)


def apply_scale(weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The weight in fp32. scale: one number, or one per row."""
    shape = (-1, *[1] * (weight.ndim - 1)) if scale.numel() > 1 else ()
    return weight.float() * scale.float().reshape(shape)


def check_scaling(header: Header, path: Path) -> None:
    """CheckpointError for a file with weights that are packed otherwise, such as two 4-bit values per byte."""
    for name, facts in header.tensors.items():
        scale = scale_of(name, header.tensors.keys()) if name.endswith(".weight") else None
        if scale is not None and facts.dtype not in (*_FLOAT8, "F16", "BF16", "F32"):
            raise CheckpointError(
                f"{path}: the weight {name} is stored as {facts.dtype} with a scale, a form that is not read; use the "
                "file in fp8, fp16 or bf16, or a GGUF"
            )
