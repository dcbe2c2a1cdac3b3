"""Which frames a latent frame holds, and where a frame's latent lies: the arithmetic of a causal VAE's single first
frame.

Latents and frames are counted from 0; ranges are half open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from videogen.core.errors import InputError


class Geometry(Protocol):
    """What is asked of a model's `LatentGeometry`: frames a latent, and whether latent 0 holds a single one."""

    @property
    def temporal(self) -> int: ...

    @property
    def single_first(self) -> bool: ...


@dataclass(frozen=True)
class LatentClock:
    """temporal: frames a latent; single_first: latent 0 holds one frame, so that frames = temporal * n + 1."""

    temporal: int
    single_first: bool

    @classmethod
    def of(cls, geometry: Geometry) -> LatentClock:
        return cls(geometry.temporal, geometry.single_first)

    @property
    def _lead(self) -> int:
        """Frames that latent 0 has fewer than others."""
        return self.temporal - 1 if self.single_first else 0

    def frames_of(self, latent: int) -> range:
        """The frames that a latent holds."""
        return range(max(0, latent * self.temporal - self._lead), (latent + 1) * self.temporal - self._lead)

    def latent_of(self, frame: int) -> int:
        """The latent that holds a frame."""
        return (frame + self._lead) // self.temporal

    def latents(self, frames: int) -> int:
        """Latents of a clip of so many frames; InputError where they do not fit."""
        if frames < 1 or (frames + self._lead) % self.temporal:
            below = (frames + self._lead) // self.temporal * self.temporal - self._lead
            near = " or ".join(str(n) for n in (below, below + self.temporal) if n > 0)
            raise InputError(f"frames={frames} do not fill whole latent frames of {self.temporal}; use {near}")
        return self.latent_of(frames - 1) + 1

    def frames(self, latents: int) -> int:
        """Frames of so many latents."""
        return max(0, latents * self.temporal - self._lead)

    def fitting(self, frames: int) -> int:
        """The least count of frames, not below this, that fills whole latents."""
        return self.frames(self.latent_of(max(frames, 1) - 1) + 1)

    def boundary(self, frame: int) -> int:
        """The first latent of what begins at a frame: the first at least half of whose frames are not before it."""
        latent = self.latent_of(frame)
        held = self.frames_of(latent)
        return latent if 2 * (frame - held.start) <= len(held) else latent + 1
