"""Chunks whose content follows from their number, and journals filled with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from videogen.longvideo import Chunk, Journal

REQUEST: dict[str, Any] = {
    "prompt": "a red ball",
    "seed": 3,
    "size": [64, 64],
    "model": {"name": "embedded", "hash": "abc"},
}
FRAMES = 3


def chunk_of(index: int, side: int = 4, version: int = 0) -> Chunk:
    generator = torch.Generator().manual_seed(100 * version + index)
    latents = torch.randn((1, 4, FRAMES, side, side), generator=generator)
    tail = torch.randn((2, 4, 1, side, side), generator=generator).bfloat16()
    tensors, state = {"tail": tail, "order": torch.arange(index + 1)}, {"step": index / 3, "seen": [index, None]}
    return Chunk(index, FRAMES * index, latents, tensors, state)


def same(a: Chunk, b: Chunk) -> bool:
    tensors = [{"latents": c.latents, **c.tensors} for c in (a, b)]
    if (a.index, a.start, dict(a.state), set(tensors[0])) != (b.index, b.start, dict(b.state), set(tensors[1])):
        return False
    return all(
        value.dtype == tensors[1][name].dtype and torch.equal(value, tensors[1][name])
        for name, value in tensors[0].items()
    )


def fill(folder: Path, count: int, side: int = 4) -> None:
    """Go on with the job until it has `count` chunks."""
    with Journal.open(folder, REQUEST) as journal:
        for index in range(len(journal), count):
            journal.append(chunk_of(index, side))


def check(journal: Journal, count: int, side: int = 4) -> None:
    """That the journal has so many chunks, each as it was made."""
    assert len(journal) == count and journal.latents_done == FRAMES * count
    assert all(same(journal.read(index), chunk_of(index, side)) for index in range(count))
