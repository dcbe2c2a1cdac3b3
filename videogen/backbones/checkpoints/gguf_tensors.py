"""Tensors of a GGUF file, as diffusers' GGUF quantization takes them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from videogen.core.errors import UnsupportedError

from .tensors import Header

#: types that torch has, and those that the library dequantizes
_PLAIN = ("F32", "F16")
_SHAPE = "comfy.gguf.orig_shape."


def check_gguf_types(header: Header) -> None:
    """UnsupportedError for quantization types that the library does not read."""
    from diffusers.quantizers.gguf.utils import SUPPORTED_GGUF_QUANT_TYPES

    known = [*_PLAIN, *(kind.name for kind in SUPPORTED_GGUF_QUANT_TYPES)]
    unknown = [name for name in header.dtypes if name not in known]
    if unknown:
        raise UnsupportedError(
            f"{header.path} is quantized as {', '.join(unknown)}, which diffusers does not read; use a file of "
            f"{', '.join(known)}"
        )


def read_gguf_tensors(header: Header, names: Collection[str]) -> dict[str, Any]:
    """The tensors of these names, quantized ones as the library's `GGUFParameter`.

    Those that ComfyUI stores in another shape, such as convolutions, get their own back, dequantized.
    """
    from diffusers.models.model_loading_utils import load_gguf_checkpoint

    tensors: dict[str, Any] = load_gguf_checkpoint(str(header.path))
    for name in names:
        shape = own_shape(header, name)
        if shape != header.tensors[name].shape:
            tensors[name] = _plain(tensors[name]).reshape(shape)
    return {name: tensors[name] for name in names}


def decode_tensors(tensors: dict[str, Any], dtype: Any) -> dict[str, Any]:
    """Tensors as plain ones of a dtype of torch. Takes them out of the mapping, so that no two copies are in memory."""
    return {name: _plain(tensors.pop(name)).to(dtype) for name in list(tensors)}


def own_shape(header: Header, name: str) -> tuple[int, ...]:
    """The shape that a tensor has in its model, which ComfyUI states where it stores another."""
    stated = header.metadata.get(f"{_SHAPE}{name}")
    return tuple(map(int, stated.split(","))) if stated else header.tensors[name].shape


def _plain(tensor: Any) -> Any:
    from diffusers.quantizers.gguf.utils import GGUFParameter, dequantize_gguf_tensor

    return dequantize_gguf_tensor(tensor) if isinstance(tensor, GGUFParameter) else tensor
