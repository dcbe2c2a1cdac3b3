"""Adaptation of a loaded model for one render: its LoRAs and textual inversions, and what the manifest records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .adapters import Adapters
from .embedding_spec import Embedding
from .embeddings import TokenEmbeddings
from .spec import Lora

if TYPE_CHECKING:
    from videogen.backbones.base import Backbone


class Adaptation:
    """LoRAs and textual inversions on a backbone's model; `apply` is a context, after which it is as before."""

    def __init__(self, backbone: Backbone) -> None:
        self.loras, self.embeddings = Adapters(backbone), TokenEmbeddings(backbone)

    def check(self, loras: Sequence[Lora], embeddings: Sequence[Embedding]) -> None:
        """Raise for files that do not fit, from their headers; the model may be without weights."""
        self.loras.check(loras)
        self.embeddings.check(embeddings)

    @contextmanager
    def apply(self, loras: Sequence[Lora], embeddings: Sequence[Embedding]) -> Iterator[None]:
        """The model with LoRAs and textual inversions within the block. Errors as `Adapters.apply` and
        `TokenEmbeddings.apply`."""
        with self.loras.apply(loras), self.embeddings.apply(embeddings):
            yield

    @property
    def records(self) -> dict[str, Any]:
        """`loras` and `embeddings` for the manifest, where there are any."""
        found = {"loras": self.loras.records, "embeddings": self.embeddings.records}
        return {name: records for name, records in found.items() if records}

    @property
    def notes(self) -> list[str]:
        """What a user should know about them."""
        return self.loras.notes
