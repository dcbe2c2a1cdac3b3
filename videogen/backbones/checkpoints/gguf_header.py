"""Header of a GGUF file: settings, then each tensor's name, dimensions, type and offset. No torch here.

The format is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

from videogen.core.errors import CheckpointError

from .tensors import GGUF, Header, TensorFacts

#: number of a type -> its name, values per block, bytes per block
TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
}  # fmt: skip
#: number of a setting's type -> how it is packed
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9
_MAGIC, _VERSIONS, _ALIGNMENT = b"GGUF", (2, 3), 32
_LONGEST_TEXT, _MOST_DIMENSIONS, _DEEPEST = 1 << 24, 8, 8


class _DamagedError(Exception):
    """The header is not as the format says."""


def read_gguf(path: Path) -> Header:
    """The header. CheckpointError where it is damaged; OSError where the file cannot be read."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        try:
            settings, infos = _read(file)
            alignment = _alignment(settings)
            begin = -(-file.tell() // alignment) * alignment
        except (_DamagedError, struct.error, OverflowError, MemoryError, ValueError) as error:
            raise CheckpointError(
                f"{path} cannot be loaded: it has no complete GGUF header ({error}), so it is damaged or truncated; "
                "copy or download it again"
            ) from None
    tensors = {name: _facts(path, name, dimensions, kind, begin + at) for name, dimensions, kind, at in infos}
    return Header(path, GGUF, tensors, begin, size, {key: _as_text(value) for key, value in settings.items()})


def _facts(path: Path, name: str, dimensions: tuple[int, ...], kind: int, begin: int) -> TensorFacts:
    if kind not in TYPES:
        raise CheckpointError(f"{path}: the tensor {name} is of the unknown type {kind}; use another quantization")
    title, values, stored = TYPES[kind]
    count = 1
    for side in dimensions:
        count *= side
    return TensorFacts(dimensions[::-1], title, begin, begin + count // values * stored)


def _read(file: BinaryIO) -> tuple[dict[str, Any], list[tuple[str, tuple[int, ...], int, int]]]:
    if file.read(4) != _MAGIC:
        raise _DamagedError("it does not begin with GGUF")
    version, tensors, settings = struct.unpack("<IQQ", file.read(20))
    if version not in _VERSIONS:
        raise _DamagedError(f"version {version}")
    found: dict[str, Any] = {}
    for _ in range(settings):
        name = _read_text(file)
        found[name] = _read_value(file, _read_number(file, "I"))
    return found, [_read_info(file) for _ in range(tensors)]


def _read_info(file: BinaryIO) -> tuple[str, tuple[int, ...], int, int]:
    """Name, dimensions (the innermost first), type and offset of a tensor."""
    name, count = _read_text(file), _read_number(file, "I")
    if count > _MOST_DIMENSIONS:
        raise _DamagedError(f"{count} dimensions")
    dimensions = tuple(_read_number(file, "Q") for _ in range(count))
    return name, dimensions, _read_number(file, "I"), _read_number(file, "Q")


def _alignment(settings: dict[str, Any]) -> int:
    """Of the tensors' bytes in the file."""
    alignment = settings.get("general.alignment", _ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1:
        raise _DamagedError(f"general.alignment={str(alignment)[:40]}")
    return alignment


def _read_value(file: BinaryIO, kind: int, depth: int = 0) -> Any:
    """depth: of arrays around it."""
    if kind in _SCALARS:
        return _read_number(file, _SCALARS[kind])
    if kind == _TEXT:
        return _read_text(file)
    if kind != _ARRAY:
        raise _DamagedError(f"a setting of type {kind}")
    inner, count = _read_number(file, "I"), _read_number(file, "Q")
    if depth == _DEEPEST:
        raise _DamagedError(f"arrays within arrays, more than {_DEEPEST} deep")
    return [_read_value(file, inner, depth + 1) for _ in range(count)]


def _read_text(file: BinaryIO) -> str:
    length = _read_number(file, "Q")
    if length > _LONGEST_TEXT:
        raise _DamagedError(f"a text of {length} bytes")
    data = file.read(length)
    if len(data) < length:
        raise _DamagedError("it ends within a text")
    return data.decode("utf-8", "replace")


def _read_number(file: BinaryIO, form: str) -> Any:
    return struct.unpack(f"<{form}", file.read(struct.calcsize(f"<{form}")))[0]


def _as_text(value: Any) -> str:
    """A setting as text; numbers of an array with commas."""
    return ",".join(map(str, value[:16])) if isinstance(value, list) else str(value)
