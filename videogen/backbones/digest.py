"""Digest of a checkpoint: what a manifest records of a model's weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from videogen.core.errors import CheckpointError

from .checkpoints.file_names import is_left_over
from .checkpoints.gguf_header import read_gguf
from .checkpoints.names import WEIGHTS
from .hub import cached_folder

if TYPE_CHECKING:
    from .checkpoints.parts import Part
    from .checkpoints.sources import ModelSources

_FULLY_HASHED_BYTES = 64 << 20
_SAMPLE_BYTES = 4096  # of each sample of a larger file
_HEADER_BYTES = 100 << 20  # the format's own limit


def digest(source: Path | str, replaced: Collection[str] = ()) -> str:
    """Digest of a model: a hash over every config, and over each safetensors file's name, size and content.

    For files above 64 MiB only the beginning, middle and end of each tensor are hashed, so that a checkpoint of many
    gigabytes takes little time. `defaults.json` is left out: its values are in every resolved request. So are the
    weights of components that are `replaced`. Of a single file, its content alone is hashed, wherever it is.
    """
    folder = source if isinstance(source, Path) else cached_folder(source)
    if folder is None:
        return "unknown"
    state = hashlib.sha256()
    if folder.is_file():
        _hash_content(state, folder)
        return state.hexdigest()[:32]
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        weights = path.suffix == ".safetensors"
        if is_left_over(name) or path.name == "defaults.json" or (weights and name.parts[0] in replaced):
            continue
        if (weights or path.suffix == ".json") and path.is_file():
            state.update(f"{name.as_posix()}:{path.stat().st_size}\n".encode())
            _hash_content(state, path)
    return state.hexdigest()[:32]


def digest_sources(sources: ModelSources) -> str:
    """Digest of a model that is joined from several sources: of each of them, by component; `unknown` where one is not
    on this machine."""
    base = digest(sources.base, tuple(sources.parts))
    if sources.is_plain:
        return base
    found = {"": base} | digest_parts(sources)
    if "unknown" in found.values():
        return "unknown"
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:32]


def digest_parts(sources: ModelSources) -> dict[str, str]:
    """Component -> digest of where it comes from, of those that do not come from the base."""
    return {name: _digest_part(part) for name, part in sources.parts.items()}


def _digest_part(part: Part) -> str:
    if part.file is not None:
        config = json.dumps(part.own_config(), sort_keys=True)
        return hashlib.sha256(f"{part.prefix}\n{digest(part.file)}\n{config}".encode()).hexdigest()[:32]
    return digest(part.source / part.subfolder if isinstance(part.source, Path) else part.source)


def _hash_content(state: Any, path: Path) -> None:
    """Add a file's content to a hash, of a large one the samples of its tensors."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        if path.suffix not in WEIGHTS or size <= _FULLY_HASHED_BYTES:
            parts: Iterable[tuple[int, int]] = ((0, size),)
        elif path.suffix == ".gguf":
            parts = _gguf_samples(path, size)
        else:
            parts = _samples(file, size)
        for begin, length in parts:
            file.seek(begin)
            state.update(file.read(length))


def _gguf_samples(path: Path, size: int) -> Iterator[tuple[int, int]]:
    """As `_samples`, of a GGUF file."""
    with suppress(CheckpointError):
        header = read_gguf(path)
        yield 0, header.begin
        for facts in sorted(header.tensors.values(), key=lambda one: one.begin):
            yield from _ends_and_middle(facts.begin, facts.end)
        return
    yield 0, size


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
        yield from _ends_and_middle(begin, end)


def _ends_and_middle(begin: int, end: int) -> Iterator[tuple[int, int]]:
    length = min(_SAMPLE_BYTES, end - begin)
    yield from ((begin, length), ((begin + end - length) // 2, length), (end - length, length))
