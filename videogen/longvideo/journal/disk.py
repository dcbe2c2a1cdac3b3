"""Durable files of the journal: bytes that are complete or absent, and plain data that shows damage.

Stricter than `core.files`: a sync that fails is an error, because what the journal calls stored must survive a power
cut.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

PARTIAL = ".partial"
_BLOCK_BYTES = 1 << 20


class DamagedError(Exception):
    """A file's bytes are not those that were written."""


def write_durably(path: Path, data: bytes) -> None:
    """Give `path` this content at one instant: write next to it, sync, rename over it, sync the folder.

    Whatever fails or interrupts it, `path` has its old content or all of `data`. OSError is passed on.
    """
    partial = path.with_name(f".{path.name}{PARTIAL}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(partial, path)
        sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)
        raise


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk; Windows does so by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in constant memory."""
    state = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            state.update(block)
    return state.hexdigest()


def canonical(values: Mapping[str, Any]) -> str:
    """Plain data as one line, the same for equal data. TypeError or ValueError for anything else, NaN included."""
    return json.dumps(values, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def digest(values: Mapping[str, Any]) -> str:
    """SHA-256 of plain data."""
    return hashlib.sha256(canonical(values).encode()).hexdigest()


def seal(values: Mapping[str, Any]) -> bytes:
    """Plain data and, on a second line, its hash."""
    line = canonical(values).encode()
    return line + b"\n" + hashlib.sha256(line).hexdigest().encode() + b"\n"


def unseal(data: bytes) -> dict[str, Any]:
    """The plain data that was sealed; DamagedError where a byte has changed."""
    line, _, rest = data.partition(b"\n")
    if rest != hashlib.sha256(line).hexdigest().encode() + b"\n":
        raise DamagedError("its bytes are not those that were written")
    values = json.loads(line)
    if not isinstance(values, dict):
        raise DamagedError("it has no table")
    return values
