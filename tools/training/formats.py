"""Clip sizes that models are trained for. Both cover the same 33 world frames; `large` samples them more finely."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """size: side of the square frames in px; frames: length of the longest clip; stride: in world frames; fps; patch,
    heads and layers: of the DiT."""

    size: int
    frames: int
    stride: float
    fps: int
    patch: int
    heads: int
    layers: int

    @property
    def slots(self) -> int:
        """Latent frames of the longest clip."""
        return (self.frames - 1) // 4 + 1

    @property
    def tokens(self) -> int:
        return self.slots * (self.size // 8 // self.patch) ** 2


FORMATS = {
    "small": Format(64, 33, 1, 16, patch=2, heads=4, layers=6),
    "large": Format(128, 65, 0.5, 32, patch=1, heads=6, layers=8),  # 4,352 tokens: long enough for sparse attention
}
