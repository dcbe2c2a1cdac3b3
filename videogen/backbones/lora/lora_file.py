"""LoRA file: its tensors' names and shapes, its metadata and its digest, read from the header alone. No torch here.

A safetensors file begins with the length of its header (8 bytes) and the header itself, JSON with the dtype, shape and
place of each tensor. Pickles, truncated files and files of other formats are refused with their name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from videogen.core.errors import CheckpointError, InputError
from videogen.core.files import sha256

PICKLE_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_LARGEST_HEADER_BYTES = 100 << 20  # the format's own limit
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
#: bytes per value of the format's dtypes
_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1,
    "BOOL": 1,
}  # fmt: skip


@dataclass(frozen=True)
class TensorFile:
    """A safetensors file. shapes: of each tensor by name; metadata: text by name; sha256: of the entire file."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]
    sha256: str


def find_file(name: str, kind: str) -> Path:
    """The file itself, also where its folder is named. kind: what it is, for messages. InputError where it does not
    exist, CheckpointError for a pickle."""
    path = Path(name)
    if path.is_dir():
        found = sorted(one for one in path.glob("*.safetensors") if not one.name.startswith("._"))
        if len(found) != 1:
            has = f"{len(found)} safetensors files" if found else "no safetensors file"
            raise InputError(f"{path} is a folder with {has}; name the {kind} itself")
        path = found[0]
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the file of a {kind}, or restore it")
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise _pickled(path)
    return path


def read_tensor_file(name: str, kind: str, recorded_sha256: str | None = None) -> TensorFile:
    """A file with its digest. InputError where it does not exist, or is not the recorded one; CheckpointError for a
    pickle, a truncated file and other formats."""
    path = find_file(name, kind)
    stat = path.stat()
    found = _read(path, stat.st_mtime_ns, stat.st_size)
    if recorded_sha256 is not None and found.sha256 != recorded_sha256:
        raise InputError(
            f"{path} has changed since it was recorded ({recorded_sha256[:8]} then, {found.sha256[:8]} now), so the "
            f"frames cannot be reproduced; restore the file, or name the {kind} again"
        )
    return found


@lru_cache(maxsize=32)
def _read(path: Path, changed_ns: int, size: int) -> TensorFile:
    """changed_ns, size: of the file now, so that another one under the same name is read."""
    header = _read_header(path, size)
    metadata = header.pop("__metadata__", {})
    try:
        shapes = {name: tuple(int(side) for side in entry["shape"]) for name, entry in header.items()}
        values = [math.prod(shapes[name]) * _BYTES.get(entry["dtype"], 0) for name, entry in header.items()]
        ends = [(int(entry["data_offsets"][0]), int(entry["data_offsets"][1])) for entry in header.values()]
        notes = {str(key): str(value) for key, value in metadata.items()}
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} has a damaged safetensors header ({error}); copy it again") from error
    if any(expected and end - begin != expected for expected, (begin, end) in zip(values, ends, strict=True)):
        raise CheckpointError(f"{path} has a damaged safetensors header (sizes do not fit shapes); copy it again")
    return TensorFile(path, shapes, notes, sha256(path))


def _read_header(path: Path, size: int) -> dict[str, Any]:
    with open(path, "rb") as file:
        start = file.read(8)
        if start.startswith(_PICKLE_STARTS):
            raise _pickled(path)
        length = int.from_bytes(start, "little")
        text = file.read(length) if len(start) == 8 and 0 < length <= _LARGEST_HEADER_BYTES else b""
    try:
        header = json.loads(text)
        last = max(
            (int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"), default=0
        )
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        cut = len(text) < length <= _LARGEST_HEADER_BYTES and text[:1] == b"{"
        what = "is truncated within its header" if cut else "is not a safetensors file"
        raise CheckpointError(f"{path} {what}; copy it again, or convert it to safetensors") from error
    expected = 8 + length + last
    if size < expected:
        raise CheckpointError(f"{path} is truncated: it has {size} of its {expected} bytes; copy it again")
    return dict(header)


def _pickled(path: Path) -> CheckpointError:
    return CheckpointError(f"{path} is pickled, which can run code when it is opened; convert it to safetensors")
