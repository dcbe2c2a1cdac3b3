"""Sections: each segment is one clip longer than the model's, which the model sees through overlapping windows.

Base of the policies that differ in what runs per window. Sections are tied to each other by copied predictions.
"""

from __future__ import annotations

from videogen.core.errors import InputError

from .chain import ClipChain

LONGEST_CLIP = 4096  # latent frames of a scene that is one clip; more would fill any memory


class Sections(ClipChain):
    """Clips of `Continuity.windows` windows, or fewer where the scene ends; None: one clip for the scene."""

    copies_predictions = True

    @property
    def stride(self) -> int:
        """New latents per window."""
        return self.clip - self.overlap

    @property
    def weights(self) -> str:
        """How windows are weighted where they overlap."""
        return self.continuity.weights or "triangular"

    def clip_frames(self, left: int) -> int:
        if self.continuity.windows is None:
            return self._clip_of_scene(left)
        section = self.clip + (self.continuity.windows - 1) * max(1, self.stride)
        return max(self.clip, min(section, left))

    def _clip_of_scene(self, latents: int) -> int:
        if latents > LONGEST_CLIP:
            raise InputError(
                f"continuity: windows=all makes one clip of a scene, here of {latents:,} latent frames, and its memory "
                f"grows with them; use windows=4, or cut the video into scenes of at most {LONGEST_CLIP:,}"
            )
        return max(self.clip, latents)
