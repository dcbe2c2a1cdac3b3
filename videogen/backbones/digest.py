"""Digest of a checkpoint: what a manifest records of a model's weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from .hub import cached_folder

_FULLY_HASHED_BYTES = 64 << 20
_SAMPLE_BYTES = 4096  # of each sample of a larger file
_HEADER_BYTES = 100 << 20  # the format's own limit


def digest(source: Path | str) -> str:
    """Digest of a model: a hash over every config, and over each safetensors file's name, size and content.

    For files above 64 MiB only the beginning, middle and end of each tensor are hashed, so that a checkpoint of many
    gigabytes takes little time. `defaults.json` is left out: its values are in every resolved request.
    """
    folder = source if isinstance(source, Path) else cached_folder(source)
    if folder is None:
        return "unknown"
    state = hashlib.sha256()
    files = (
        p
        for p in folder.rglob("*")
        if p.suffix in (".safetensors", ".json") and p.name != "defaults.json" and p.is_file()
    )
    for path in sorted(files):
        size = path.stat().st_size
        state.update(f"{path.relative_to(folder).as_posix()}:{size}\n".encode())
        with open(path, "rb") as file:
            sampled = path.suffix == ".safetensors" and size > _FULLY_HASHED_BYTES
            for begin, length in _samples(file, size) if sampled else ((0, size),):
                file.seek(begin)
                state.update(file.read(length))
    return state.hexdigest()[:32]


def _samples(file: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """(begin, length) of the samples of a large safetensors file: its header, and both ends and the middle of each
    tensor.

    A file whose header cannot be read, such as a broken variant that no pipeline loads, is sampled as one tensor.
    """
    header = int.from_bytes(file.read(8), "little")
    tensors = [(8, size)]
    if header <= _HEADER_BYTES:
        with suppress(ValueError, TypeError, LookupError, AttributeError):
            entries = json.loads(file.read(header))
            offsets = [entries[name]["data_offsets"] for name in entries if name != "__metadata__"]
            tensors = [(8 + header + int(begin), 8 + header + int(end)) for begin, end in offsets] or tensors
    yield 0, min(size, 8 + min(header, _HEADER_BYTES))
    for begin, end in sorted(tensors):
        length = min(_SAMPLE_BYTES, end - begin)
        yield from ((begin, length), ((begin + end - length) // 2, length), (end - length, length))
