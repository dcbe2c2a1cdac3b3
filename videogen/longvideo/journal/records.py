"""Finished segments on disk: tensors in a safetensors file, and a sealed entry that names it and has everything else.

The entry is what makes a segment finished. Tensor files have their hash in their name, so that a segment is also
replaced at one instant: the new file is written next to the old one, then the entry is renamed over.
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

from .disk import PARTIAL, DamagedError, canonical, hash_file, seal, unseal, write_durably

if TYPE_CHECKING:
    import torch

FORMAT = 1  # of the journal: raise it when the meaning of what is written changes
_LATENTS = "latents"
_ENTRY = re.compile(r"(\d{6})\.json")
_TENSORS = re.compile(r"\d{6}-[0-9a-f]{16}\.safetensors")


@dataclass(frozen=True)
class SegmentRecord:
    """What the journal stores of a segment.

    index: its number; start: its first latent frame; latents [1, c, f, h, w]; tensors: what else the next segment
    needs, by name (predictions, a decoder's state); state: plain data that JSON can represent (attempt, statistics).
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
class JournalEntry:
    """The sealed file of a segment: all of it but the tensors. start, stop: its latent frames; file: the tensors'."""

    index: int
    start: int
    stop: int
    file: str
    sha256: str
    state: dict[str, Any]


def write_segment(folder: Path, segment: SegmentRecord, request: str) -> JournalEntry:
    """Write a segment; when this returns it survives a power cut. request: the job's digest. OSError is passed on."""
    from safetensors.torch import save

    if _LATENTS in segment.tensors:
        raise InputError(
            f"segment {segment.index}: {_LATENTS!r} is the name of the segment's own latents; give the tensor another"
        )
    if segment.latents.ndim != 5 or 0 in segment.latents.shape:
        raise InputError(
            f"segment {segment.index}: latents {list(segment.latents.shape)} are not [1, channel, frame, height, width]"
        )
    data = save({name: _copy_to_cpu(value) for name, value in {_LATENTS: segment.latents, **segment.tensors}.items()})
    sha256 = hashlib.sha256(data).hexdigest()
    name, state = f"{segment.index:06d}-{sha256[:16]}.safetensors", json.loads(canonical(segment.state))
    entry = JournalEntry(segment.index, segment.start, segment.stop, name, sha256, state)
    sealed = seal({"format": FORMAT, "request": request, **vars(entry)})
    write_durably(folder / entry.file, data)
    write_durably(_entry_path(folder, entry.index), sealed)
    return entry


def read_entry(folder: Path, index: int, request: str) -> JournalEntry | None:
    """The entry of a segment whose tensors are as they were written; None where there is none. DamagedError
    otherwise."""
    try:
        values = unseal(_entry_path(folder, index).read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedError(str(error)) from error
    if values.pop("format", None) != FORMAT or values.pop("request", None) != request or values.get("index") != index:
        raise DamagedError("its entry belongs to another job")
    entry = JournalEntry(**values)
    try:
        if hash_file(folder / entry.file) != entry.sha256:
            raise DamagedError("its bytes are not those that were written")
    except OSError as error:
        raise DamagedError(str(error)) from error
    return entry


def read_segment(folder: Path, entry: JournalEntry) -> SegmentRecord:
    """The segment with its tensors on the CPU. DamagedError where they are not as they were written."""
    from safetensors.torch import load

    try:
        data = (folder / entry.file).read_bytes()
    except OSError as error:
        raise DamagedError(str(error)) from error
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise DamagedError("its bytes are not those that were written")
    # aligned memory of their own, as all tensors have: a matrix product's last bit can depend on where its input begins
    tensors = {name: value.clone() for name, value in load(data).items()}
    return SegmentRecord(entry.index, entry.start, tensors.pop(_LATENTS), tensors, entry.state)


def find_request_digest(folder: Path) -> str | None:
    """The job's digest as any undamaged entry has it; None where there is none."""
    for path in sorted(folder.glob("*.json")):
        try:
            return str(unseal(path.read_bytes())["request"])
        except (DamagedError, OSError, KeyError):
            continue
    return None


def remove_others(folder: Path, entries: list[JournalEntry]) -> None:
    """Remove later entries, then files that no entry names. Last ones first, so that a kill leaves a prefix."""
    named = {entry.file for entry in entries}
    numbered = [(int(found[1]), path) for path in folder.iterdir() if (found := _ENTRY.fullmatch(path.name))]
    for index, path in sorted(numbered, reverse=True):
        if index >= len(entries):
            path.unlink()
    for path in folder.iterdir():
        if path.name not in named and (_TENSORS.fullmatch(path.name) or path.name.endswith(PARTIAL)):
            path.unlink()


def _copy_to_cpu(tensor: torch.Tensor) -> torch.Tensor:
    """A copy that shares memory with nothing, as safetensors requires."""
    import torch

    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _entry_path(folder: Path, index: int) -> Path:
    return folder / f"{index:06d}.json"
