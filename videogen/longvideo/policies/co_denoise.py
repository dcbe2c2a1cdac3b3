"""Co-denoising: windows of one longer clip, whose predictions are averaged at each step (Gen-L-Video, 2305.18264)."""

from __future__ import annotations

from videogen.schedulers.windows import Windows

from .sections import Sections


class CoDenoise(Sections):
    """The full model runs per window, so a section costs as many more evaluations as its windows overlap."""

    @property
    def stride(self) -> int:
        """A window's anchor, the single frame it begins with, is not new."""
        return super().stride - self.anchor

    def windows(self, frames: int) -> Windows | None:
        if frames == self.clip:
            return None
        overlap = min(self.overlap, self.clip - 1 - self.anchor)
        return Windows(frames, self.clip, overlap, anchor=bool(self.anchor), weights=self.weights)
