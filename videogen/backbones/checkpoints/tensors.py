"""Facts of the tensors in a weights file. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SAFETENSORS, GGUF = "safetensors", "gguf"


@dataclass(frozen=True)
class TensorFacts:
    """shape: as torch has it; dtype: by the format's name, such as `BF16` or `Q8_0`; begin, end: bytes in the file."""

    shape: tuple[int, ...]
    dtype: str
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """path: the file; format: `safetensors` or `gguf`; tensors: by name; metadata: what else the header states, as
    text; begin: of the tensors' bytes; size: of the file, in bytes."""

    path: Path
    format: str
    tensors: Mapping[str, TensorFacts]
    begin: int
    size: int
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def end(self) -> int:
        """Where the last tensor ends, in bytes."""
        return max((one.end for one in self.tensors.values()), default=self.begin)

    @property
    def dtypes(self) -> dict[str, int]:
        """dtype -> number of tensors that have it, the most frequent first."""
        names = [one.dtype for one in self.tensors.values()]
        return {name: names.count(name) for name in sorted(set(names), key=lambda name: (-names.count(name), name))}
