"""LoRAs of a request: their files, checked and identified before anything is loaded. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from videogen.backbones.lora.embedding_spec import Embedding
from videogen.backbones.lora.lora_file import read_tensor_file
from videogen.backbones.lora.spec import Lora


def resolve_embeddings(embeddings: Sequence[Embedding]) -> tuple[Embedding, ...]:
    """The textual inversions with their files and digests; errors as `resolve_loras`."""
    found = []
    for embedding in embeddings:
        file = read_tensor_file(embedding.file, "textual inversion", embedding.sha256)
        found.append(replace(embedding, file=str(file.path), sha256=file.sha256))
    return tuple(found)


def resolve_loras(loras: Sequence[Lora]) -> tuple[Lora, ...]:
    """The LoRAs with their files and digests. InputError for a file that is missing or has changed since it was
    recorded, CheckpointError for a pickle and a damaged file."""
    found = []
    for lora in loras:
        file = read_tensor_file(lora.file, "LoRA", lora.sha256)
        found.append(replace(lora, file=str(file.path), sha256=file.sha256))
    return tuple(found)
