"""Header of a safetensors file: its length, then JSON with each tensor's dtype, shape and offsets. No torch here."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from videogen.core.errors import CheckpointError

from .tensors import SAFETENSORS, Header, TensorFacts

#: bytes per value of the dtypes of one or more bytes
_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "U64": 8, "I32": 4, "U32": 4,
    "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
_LARGEST_BYTES = 100 << 20  # of a header: the format's own limit
#: first bytes of what is often given another name: of a zip or a pickle, as torch.save writes
_PICKLED = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def read_safetensors(path: Path) -> Header:
    """The header. CheckpointError where there is none; OSError where the file cannot be read."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(8)
        length = int.from_bytes(head, "little")
        text = file.read(length) if 0 < length <= min(size, _LARGEST_BYTES) else b""
    if head.startswith(_PICKLED):
        raise CheckpointError(
            f"{path} is pickled, whatever its name, and can run code when it is opened; download its safetensors"
        )
    try:
        entries = json.loads(text)
        tensors = {name: _facts(entry, 8 + length) for name, entry in entries.items() if name != "__metadata__"}
        metadata = {str(key): str(value) for key, value in (entries.get("__metadata__") or {}).items()}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise CheckpointError(
            f"{path} cannot be loaded: it has no safetensors header, so it is damaged or truncated; copy it again"
        ) from None
    for name, tensor in tensors.items():
        _check_size(path, name, tensor)
    return Header(path, SAFETENSORS, tensors, 8 + length, size, metadata)


def _facts(entry: dict[str, Any], start: int) -> TensorFacts:
    begin, end = entry["data_offsets"]
    shape = tuple(int(side) for side in entry["shape"])
    return TensorFacts(shape, str(entry["dtype"]), start + int(begin), start + int(end))


def _check_size(path: Path, name: str, tensor: TensorFacts) -> None:
    """CheckpointError where a tensor's bytes are not those of its shape."""
    size, width = tensor.end - tensor.begin, _BYTES.get(tensor.dtype)
    if min((*tensor.shape, size)) < 0 or (width is not None and size != math.prod(tensor.shape) * width):
        raise CheckpointError(
            f"{path} has a damaged safetensors header: {name} is {list(tensor.shape)} of {tensor.dtype} in {size} "
            "bytes; copy or download it again"
        )
