"""Sections: each segment is one clip longer than the model's, which the model sees through overlapping windows.

Base of the policies that differ in what runs per window. Sections are tied to each other by copied predictions.
"""

from __future__ import annotations

from .chain import ClipChain


class Sections(ClipChain):
    """Clips of `Continuity.windows` windows, or fewer where the scene ends."""

    copies_predictions = True

    @property
    def stride(self) -> int:
        """New latents per window."""
        return self.clip - self.overlap

    def clip_frames(self, left: int) -> int:
        section = self.clip + (self.continuity.windows - 1) * max(1, self.stride)
        return max(self.clip, min(section, left))
