"""Frame-to-latent map of a video VAE: which frames a latent frame decodes to, and how many latents a clip has.

A causal VAE encodes a clip's first frame as a latent of its own, so that frames = frames_per_latent * n + 1; other VAEs
have frames = frames_per_latent * n. Latents and frames are counted from 0; ranges are half open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from videogen.core.errors import InputError


class Geometry(Protocol):
    """The two fields of a model's `LatentGeometry` that the map needs."""

    @property
    def temporal(self) -> int: ...

    @property
    def single_first(self) -> bool: ...


@dataclass(frozen=True)
class FrameLatentMap:
    """frames_per_latent: temporal compression of the VAE; single_first: latent 0 decodes to one frame only.
    latent_step: latents are decoded in groups of so many (after latent 0, where that has one frame); a clip has full
    groups."""

    frames_per_latent: int
    single_first: bool
    latent_step: int = 1

    @classmethod
    def from_geometry(cls, geometry: Geometry) -> FrameLatentMap:
        segment = getattr(geometry, "latents_per_segment", 1)
        if segment > 1:
            return SegmentedLatentMap(geometry.temporal, True, 1, segment, getattr(geometry, "last_segment", 1))
        return cls(geometry.temporal, geometry.single_first, getattr(geometry, "latent_step", 1))

    @property
    def _missing(self) -> int:
        """How many frames fewer than the others latent 0 decodes to."""
        return self.frames_per_latent - 1 if self.single_first else 0

    def frames_of(self, latent: int) -> range:
        """The frames that a latent decodes to."""
        start = latent * self.frames_per_latent - self._missing
        return range(max(0, start), start + self.frames_per_latent)

    def latent_of(self, frame: int) -> int:
        """The latent that a frame is decoded from."""
        return (frame + self._missing) // self.frames_per_latent

    def frame_count(self, latents: int) -> int:
        """Number of frames that so many latents decode to."""
        return max(0, latents * self.frames_per_latent - self._missing)

    def latent_count(self, frames: int) -> int:
        """Number of latents of a clip. InputError where its frames do not fill the last latent."""
        if not self.fits(frames):
            near = " or ".join(map(str, self.nearest_counts(frames)))
            raise InputError(f"frames={frames} does not fill latent frames of {self.frames_per_latent}; use {near}")
        return self.full_latents(frames)

    def full_latents(self, frames: int) -> int:
        """Number of latents that so many frames fill; frames left over are not counted."""
        return (frames + self._missing) // self.frames_per_latent

    def fits(self, frames: int) -> bool:
        """Whether a clip of so many frames fills its latents."""
        fills = frames > 0 and (frames + self._missing) % self.frames_per_latent == 0
        return fills and self._left_over(self.full_latents(frames)) == 0

    def nearest_counts(self, frames: int) -> list[int]:
        """The counts of frames next below (or at) and above this one that fill their latents."""
        latents = self.full_latents(frames)
        below = (latents - self._left_over(latents)) * self.frames_per_latent - self._missing
        return [count for count in (below, below + self.frames_per_latent * self.latent_step) if count > 0]

    def round_up(self, frames: int) -> int:
        """The smallest count of frames, not below this one, that fills its latents."""
        latents = self.latent_of(max(frames, 1) - 1) + 1
        return self.frame_count(latents + -self._left_over(latents) % self.latent_step)

    def _left_over(self, latents: int) -> int:
        """How many of so many latents do not fill a group."""
        return (latents - self.single_first) % self.latent_step

    def first_latent_from(self, frame: int) -> int:
        """The first latent of a shot that begins at a frame: the first with at least half of its frames in the shot."""
        latent = self.latent_of(frame)
        frames = self.frames_of(latent)
        return latent if 2 * (frame - frames.start) <= len(frames) else latent + 1


@dataclass(frozen=True)
class SegmentedLatentMap(FrameLatentMap):
    """Of a VAE that encodes a clip in segments, in each of which the first latent has one frame.

    latents_per_segment: of all but the last segment, which has last_segment of them. MiniMax-H3: 5 and 2 latents of 4
    frames, so 17 n + 5 frames.
    """

    latents_per_segment: int = 1
    last_segment: int = 1

    @property
    def segment_frames(self) -> int:
        """Frames of a segment."""
        return self.latents_per_segment * self.frames_per_latent - self._missing

    @property
    def last_frames(self) -> int:
        """Frames of the last segment."""
        return self.last_segment * self.frames_per_latent - self._missing

    def frames_of(self, latent: int) -> range:
        segment, place = divmod(latent, self.latents_per_segment)
        first = segment * self.segment_frames
        own = super().frames_of(place)
        return range(first + own.start, first + own.stop)

    def latent_of(self, frame: int) -> int:
        segment, place = divmod(frame, self.segment_frames)
        return segment * self.latents_per_segment + super().latent_of(place)

    def frame_count(self, latents: int) -> int:
        segments, rest = divmod(latents, self.latents_per_segment)
        return segments * self.segment_frames + super().frame_count(rest)

    def full_latents(self, frames: int) -> int:
        segments, rest = divmod(frames, self.segment_frames)
        return segments * self.latents_per_segment + super().full_latents(rest)

    def fits(self, frames: int) -> bool:
        return frames >= self.last_frames and (frames - self.last_frames) % self.segment_frames == 0

    def nearest_counts(self, frames: int) -> list[int]:
        below = frames - (frames - self.last_frames) % self.segment_frames
        return [count for count in (below, below + self.segment_frames) if count > 0]

    def round_up(self, frames: int) -> int:
        further = max(0, frames - self.last_frames)
        return self.last_frames + -(-further // self.segment_frames) * self.segment_frames
