"""Segments whose content follows from their number, and journals filled with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from videogen.longvideo import Journal, SegmentRecord

REQUEST: dict[str, Any] = {
    "prompt": "a red ball",
    "seed": 3,
    "size": [64, 64],
    "model": {"name": "embedded", "hash": "abc"},
}
FRAMES = 3


def make_segment(index: int, side: int = 4, version: int = 0) -> SegmentRecord:
    generator = torch.Generator().manual_seed(100 * version + index)
    latents = torch.randn((1, 4, FRAMES, side, side), generator=generator)
    tail = torch.randn((2, 4, 1, side, side), generator=generator).bfloat16()
    tensors, state = {"tail": tail, "order": torch.arange(index + 1)}, {"step": index / 3, "seen": [index, None]}
    return SegmentRecord(index, FRAMES * index, latents, tensors, state)


def same(a: SegmentRecord, b: SegmentRecord) -> bool:
    tensors = [{"latents": c.latents, **c.tensors} for c in (a, b)]
    if (a.index, a.start, dict(a.state), set(tensors[0])) != (b.index, b.start, dict(b.state), set(tensors[1])):
        return False
    return all(
        value.dtype == tensors[1][name].dtype and torch.equal(value, tensors[1][name])
        for name, value in tensors[0].items()
    )


def fill(folder: Path, count: int, side: int = 4) -> None:
    """Continue the job until it has `count` segments."""
    with Journal.open(folder, REQUEST) as journal:
        for index in range(len(journal), count):
            journal.append(make_segment(index, side))


def check(journal: Journal, count: int, side: int = 4) -> None:
    """Assert that the journal has so many segments, each as it was written."""
    assert len(journal) == count and journal.latents_done == FRAMES * count
    assert all(same(journal.read(index), make_segment(index, side)) for index in range(count))
