"""Layouts of a pipeline's latents: exact maps between the loop's tensor and [b, c, f, h, w]."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange

_VIDEO = "b c f h w"


@dataclass(frozen=True)
class Layout:
    """pattern: the axes of the loop's tensor in einops' form, such as `b f c h w`, `b (f h w) c` or, without a batch,
    `c f h w`. size: (frames,
    height, width) in latents, which packed layouts need; lead, trail: tokens or frames in front and behind that are not
    the video's; behind: on which side they are; patch: sides of `p` and `q` of patterns such as `(f h w) (c p q)`."""

    pattern: str = _VIDEO
    size: tuple[int, int, int] | None = None
    lead: int = 0
    trail: int = 0
    behind: bool = False
    patch: int = 1

    def to_video(self, latents: torch.Tensor) -> torch.Tensor:
        """The loop's tensor as [b, c, f, h, w]."""
        if self.pattern == _VIDEO:
            return self._without_extras(latents)
        return rearrange(self._without_extras(latents), f"{self.pattern} -> {self._video}", **self._axes())

    def from_video(self, video: torch.Tensor, like: torch.Tensor | None = None) -> torch.Tensor:
        """[b, c, f, h, w] as the loop's tensor; like: the tensor that what is in front and behind is taken from."""
        packed = (
            video if self.pattern == _VIDEO else rearrange(video, f"{self._video} -> {self.pattern}", **self._patch)
        )
        if not self.has_extras or like is None:
            return packed
        axis = self._frame_axis
        behind = like.narrow(axis, like.shape[axis] - self.trail, self.trail)
        return torch.cat([like.narrow(axis, 0, self.lead), packed, behind], axis)

    @property
    def _video(self) -> str:
        """The video's axes; a pipeline that makes one clip at a time may have no batch."""
        names = re.findall(r"\w+", self.pattern)
        video = _VIDEO if "b" in names else _VIDEO.replace("b", "1")
        return video.replace("h w", "(h p) (w q)") if "p" in names else video

    @property
    def _patch(self) -> dict[str, int]:
        """Sides of the patches whose pixels are channels."""
        return {"p": self.patch, "q": self.patch} if "p" in self._video else {}

    @property
    def _grid(self) -> tuple[int, int, int]:
        """size in patches."""
        assert self.size is not None
        side = self.patch if self._patch else 1
        return self.size[0], self.size[1] // side, self.size[2] // side

    @property
    def has_extras(self) -> bool:
        """Whether there is more than the video."""
        return bool(self.lead or self.trail)

    def with_extras_of(self, shape: Sequence[int]) -> Layout:
        """This layout for a tensor that has more frames or tokens than the video, in front of it or behind."""
        if self.size is None or not self.fits(shape):
            return self
        group = _axes_of(self.pattern)[self._frame_axis]
        expected = math.prod(side for name, side in zip("fhw", self._grid, strict=True) if name in group)
        extras = max(0, shape[self._frame_axis] - expected)
        return replace(self, trail=extras) if self.behind else replace(self, lead=extras)

    def of_video_alone(self, shape: Sequence[int]) -> Layout:
        """This layout for a tensor that may have the video's tokens alone, without those in front and behind."""
        if self.size is None or not self.has_extras or not self.fits(shape):
            return self
        bare = replace(self, lead=0, trail=0)
        return bare if bare.with_extras_of(shape) == bare else self

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of this shape is in this layout."""
        return len(shape) == len(_axes_of(self.pattern))

    def has_full_frames(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of this shape is in this layout, with as many tokens as some number of frames has."""
        if not self.fits(shape):
            return False
        packed = self.size is not None and "(f h w)" in self.pattern
        return not packed or shape[self._frame_axis] % math.prod(self._grid[1:]) == 0

    def has_size_of(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of this shape is in this layout and has frames of this size; packed ones may have any."""
        if self.size is None or "(" in self.pattern or not self.fits(shape):
            return True
        axes = _axes_of(self.pattern)
        return (shape[axes.index("h")], shape[axes.index("w")]) == self.size[1:]

    def frame_count(self, shape: Sequence[int]) -> int:
        """Number of the video's frames in a tensor of this shape; below 0 where it has the video's alone."""
        if _axes_of(self.pattern)[self._frame_axis] == "f":
            return shape[self._frame_axis] - self.lead - self.trail
        return self.video_shape(shape)[2]

    def video_shape(self, shape: Sequence[int]) -> tuple[int, int, int, int, int]:
        """[b, c, f, h, w] of a tensor of this shape."""
        found = self.to_video(torch.empty(tuple(shape), device="meta")).shape
        return found[0], found[1], found[2], found[3], found[4]

    @property
    def _frame_axis(self) -> int:
        return next(axis for axis, name in enumerate(_axes_of(self.pattern)) if "f" in name)

    def _without_extras(self, latents: torch.Tensor) -> torch.Tensor:
        axis = self._frame_axis
        length = latents.shape[axis] - self.lead - self.trail
        return latents.narrow(axis, self.lead, length) if self.has_extras else latents

    def _axes(self) -> dict[str, int]:
        if "(" not in self.pattern or self.size is None:
            return {}
        frames, height, width = self._grid
        return {"f": frames} if "(b f)" in self.pattern else {"h": height, "w": width, **self._patch}


def _axes_of(pattern: str) -> list[str]:
    """The axes of a pattern; a group in brackets is one."""
    axes, group = [], ""
    for word in pattern.split():
        group = f"{group} {word}".strip()
        if group.count("(") == group.count(")"):
            axes.append(group)
            group = ""
    return axes
