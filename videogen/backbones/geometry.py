"""Latent geometry and clip limits: a video VAE's compression, and which clip sizes and lengths a model can generate."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from videogen.core.errors import InputError
from videogen.core.frame_latent_map import FrameLatentMap, SegmentedLatentMap

_GROUPS = {"latent_step": 1, "latents_per_segment": 1, "last_segment": 1}


@dataclass(frozen=True)
class LatentGeometry:
    """How a clip's pixels map to latents.

    spatial, temporal: compression ratios; multiple: what width and height must be divisible by;
    single_first: latent 0 holds one frame (causal VAEs), so that frames = temporal * n + 1;
    latent_step: n is a multiple of it. latents_per_segment, last_segment: of VAEs that encode a clip in segments, each
    with a single first frame, the number of latents of a segment and of the last (1: one segment of any length).
    """

    channels: int
    spatial: int
    temporal: int
    multiple: int
    single_first: bool
    latent_step: int = 1
    latents_per_segment: int = 1
    last_segment: int = 1

    def to_dict(self) -> dict[str, int]:
        """Its fields as plain data; those of groups and segments only where they are not 1."""
        return {name: value for name, value in asdict(self).items() if name not in _GROUPS or value != 1}

    @classmethod
    def from_dict(cls, values: object) -> LatentGeometry | None:
        """From its fields as plain data; None where they are not valid."""
        kinds = {field.name: bool if field.name == "single_first" else int for field in fields(cls)}
        values = {**_GROUPS, **values} if isinstance(values, dict) else {}
        if values.keys() != kinds.keys():
            return None
        valid = all(type(values[name]) is kind and values[name] >= (kind is int) for name, kind in kinds.items())
        return cls(**values) if valid else None

    @property
    def frame_map(self) -> FrameLatentMap:
        """Which frames a latent frame decodes to."""
        return FrameLatentMap.from_geometry(self)

    @property
    def rule(self) -> str:
        """Numbers of frames that fill the latents, as `4k+1`."""
        frames = self.frame_map
        if isinstance(frames, SegmentedLatentMap):
            return f"{frames.segment_frames}k+{frames.last_frames}"
        step = self.temporal * self.latent_step
        if step == 1:
            return "any"
        return f"{step}k+1" if self.single_first else f"{step}k"

    def shape(self, frames: int, height: int, width: int, batch: int = 1) -> tuple[int, int, int, int, int]:
        """Shape [batch, channel, frame, height, width] of the latents of a clip in pixels."""
        count = (frames - 1) // self.temporal + 1 if self.single_first else frames // self.temporal
        if self.latents_per_segment > 1:
            count = self.frame_map.full_latents(frames)
        return batch, self.channels, count, height // self.spatial, width // self.spatial

    def check(self, frames: int, height: int, width: int, name: str) -> None:
        """InputError, with the two nearest values that fit, where the clip does not fit the latents of model `name`."""
        for side, value in (("width", width), ("height", height)):
            if value % self.multiple or value < 1:
                below = value // self.multiple * self.multiple
                near = " or ".join(str(fit) for fit in (below, below + self.multiple) if fit > 0)
                raise InputError(f"{side}={value} is not a multiple of {self.multiple} for {name!r}; use {near}")
        if not self.frame_map.fits(frames):
            rule = self.rule if "+" in self.rule else f"a multiple of {self.rule[:-1]}"
            near = " or ".join(map(str, self.frame_map.nearest_counts(frames)))
            raise InputError(f"frames={frames} is not {rule} for {name!r}; use {near}")


@dataclass(frozen=True)
class ClipLimits:
    """Longest and largest clip for which a model has positions: frames, height and width in px; None: any number."""

    frames: int | None = None
    height: int | None = None
    width: int | None = None

    def check(self, frames: int, height: int, width: int, name: str) -> None:
        """InputError, with the limit, for a clip beyond it. name: of the model."""
        for side, value, most in (("width", width, self.width), ("height", height, self.height)):
            if most is not None and value > most:
                raise InputError(f"{side}={value} is beyond the positions of {name!r}; use at most {most}")
        if self.frames is not None and frames > self.frames:
            raise InputError(
                f"{frames} frames at once are beyond the positions of {name!r}; a clip, or a window of a "
                f"longer video, has at most {self.frames}"
            )
