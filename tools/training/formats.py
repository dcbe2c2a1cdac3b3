"""What size of clip a model is trained for. Both show the same world of 33 frames a clip; `large` shows it finer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """size: picture side in px; frames of the longest clip; stride in world frames; fps; patch, heads and layers of the
    DiT."""

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
