"""A finished chunk on disk: its tensors in a safetensors file, and a sealed record that names it and holds all else.

The record is what makes a chunk finished. Tensor files carry their hash in their name, so that a chunk is also replaced
at one instant: the new file stands beside the old one until the record is renamed over.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videogen.core.errors import InputError

from .disk import PARTIAL, DamagedError, canonical, hash_of, seal, unseal, write_whole

if TYPE_CHECKING:
    import torch

FORMAT = 1  # of the journal: raise it when what is written changes its meaning
_LATENTS = "latents"
_RECORD = re.compile(r"(\d{6})\.json")
_TENSORS = re.compile(r"\d{6}-[0-9a-f]{16}\.safetensors")


@dataclass(frozen=True)
class Chunk:
    """A stretch of a long video that needs no more work.

    index: its number; start: its first latent frame; latents [1, c, f, h, w]; tensors: what the next chunk needs
    besides, by name (tail predictions, a decoder's state); state: plain data (a noise stream's, statistics), which JSON
    can hold.
    """

    index: int
    start: int
    latents: torch.Tensor
    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stop(self) -> int:
        return self.start + self.latents.shape[2]


@dataclass(frozen=True)
class Record:
    """What is known of a chunk on disk without reading its tensors. start, stop: its latent frames."""

    index: int
    start: int
    stop: int
    file: str
    sha256: str
    state: dict[str, Any]


def write_chunk(folder: Path, chunk: Chunk, request: str) -> Record:
    """Put a chunk on disk; when it returns the chunk survives a power cut. request: the job's digest. OSError as it
    comes."""
    from safetensors.torch import save

    if _LATENTS in chunk.tensors:
        raise InputError(
            f"chunk {chunk.index}: {_LATENTS!r} is the name of the chunk's own latents; give the tensor another"
        )
    if chunk.latents.ndim != 5 or 0 in chunk.latents.shape:
        raise InputError(
            f"chunk {chunk.index}: latents {list(chunk.latents.shape)} are not [1, channel, frame, height, width]"
        )
    data = save({name: _apart(value) for name, value in {_LATENTS: chunk.latents, **chunk.tensors}.items()})
    sha256 = hashlib.sha256(data).hexdigest()
    name, state = f"{chunk.index:06d}-{sha256[:16]}.safetensors", json.loads(canonical(chunk.state))
    record = Record(chunk.index, chunk.start, chunk.stop, name, sha256, state)
    sealed = seal({"format": FORMAT, "request": request, **vars(record)})
    write_whole(folder / record.file, data)
    write_whole(_path(folder, record.index), sealed)
    return record


def read_record(folder: Path, index: int, request: str) -> Record | None:
    """The record of a chunk whose tensors are as they were written; None where there is none. DamagedError
    otherwise."""
    try:
        values = unseal(_path(folder, index).read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedError(str(error)) from error
    if values.pop("format", None) != FORMAT or values.pop("request", None) != request or values.get("index") != index:
        raise DamagedError("its record is of another job")
    record = Record(**values)
    try:
        if hash_of(folder / record.file) != record.sha256:
            raise DamagedError("its bytes are not those that were written")
    except OSError as error:
        raise DamagedError(str(error)) from error
    return record


def read_chunk(folder: Path, record: Record) -> Chunk:
    """The chunk with its tensors on the CPU. DamagedError where they are not as they were written."""
    from safetensors.torch import load

    try:
        data = (folder / record.file).read_bytes()
    except OSError as error:
        raise DamagedError(str(error)) from error
    if hashlib.sha256(data).hexdigest() != record.sha256:
        raise DamagedError("its bytes are not those that were written")
    # tensors of their own memory, aligned as all are: a matrix product's last bit may hang on where its input begins
    tensors = {name: value.clone() for name, value in load(data).items()}
    return Chunk(record.index, record.start, tensors.pop(_LATENTS), tensors, record.state)


def request_of_any(folder: Path) -> str | None:
    """The job's digest as some undamaged record says it; None where there is none."""
    for path in sorted(folder.glob("*.json")):
        try:
            return str(unseal(path.read_bytes())["request"])
        except (DamagedError, OSError, KeyError):
            continue
    return None


def keep_only(folder: Path, records: list[Record]) -> None:
    """Remove what no chunk needs: later records, then files that no record names. Last things first, so that a kill
    leaves a prefix."""
    kept = {record.file for record in records}
    numbered = [(int(found[1]), path) for path in folder.iterdir() if (found := _RECORD.fullmatch(path.name))]
    for index, path in sorted(numbered, reverse=True):
        if index >= len(records):
            path.unlink()
    for path in folder.iterdir():
        if path.name not in kept and (_TENSORS.fullmatch(path.name) or path.name.endswith(PARTIAL)):
            path.unlink()


def _apart(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU that shares memory with nothing, as safetensors wants it."""
    import torch

    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _path(folder: Path, index: int) -> Path:
    return folder / f"{index:06d}.json"
