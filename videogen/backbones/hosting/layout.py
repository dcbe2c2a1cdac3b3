"""Layouts of a pipeline's latents: exact maps between the loop's tensor and [b, c, f, h, w]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange

_VIDEO = "b c f h w"


@dataclass(frozen=True)
class Layout:
    """pattern: the axes of the loop's tensor in einops' form, such as `b f c h w` or `b (f h w) c`. size: (frames,
    height, width) in latents, which packed layouts need; lead: tokens or frames in front that are not the video's."""

    pattern: str = _VIDEO
    size: tuple[int, int, int] | None = None
    lead: int = 0

    def to_video(self, latents: torch.Tensor) -> torch.Tensor:
        """The loop's tensor as [b, c, f, h, w]."""
        if self.pattern == _VIDEO:
            return latents[:, :, self.lead :] if self.lead else latents
        return rearrange(self._without_lead(latents), f"{self.pattern} -> {_VIDEO}", **self._axes())

    def from_video(self, video: torch.Tensor, like: torch.Tensor | None = None) -> torch.Tensor:
        """[b, c, f, h, w] as the loop's tensor; like: the tensor that what is in front is taken from."""
        packed = video if self.pattern == _VIDEO else rearrange(video, f"{_VIDEO} -> {self.pattern}")
        if not self.lead or like is None:
            return packed
        axis = self._lead_axis
        return torch.cat([like.narrow(axis, 0, self.lead), packed], axis)

    def with_lead_of(self, shape: Sequence[int]) -> Layout:
        """This layout for a tensor that has more frames or tokens than the video, in front of it."""
        if self.size is None or not self.fits(shape):
            return self
        expected = math.prod(self.size) if "(" in self.pattern else self.size[0]
        return replace(self, lead=max(0, shape[self._lead_axis] - expected))

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of this shape is in this layout."""
        return len(shape) == len(_axes_of(self.pattern))

    def video_shape(self, shape: Sequence[int]) -> tuple[int, int, int, int, int]:
        """[b, c, f, h, w] of a tensor of this shape."""
        found = self.to_video(torch.empty(tuple(shape), device="meta")).shape
        return found[0], found[1], found[2], found[3], found[4]

    @property
    def _lead_axis(self) -> int:
        return next(axis for axis, name in enumerate(_axes_of(self.pattern)) if "f" in name)

    def _without_lead(self, latents: torch.Tensor) -> torch.Tensor:
        axis = self._lead_axis
        return latents.narrow(axis, self.lead, latents.shape[axis] - self.lead) if self.lead else latents

    def _axes(self) -> dict[str, int]:
        if "(" not in self.pattern or self.size is None:
            return {}
        return {"h": self.size[1], "w": self.size[2]}


def _axes_of(pattern: str) -> list[str]:
    """The axes of a pattern; a group in brackets is one."""
    axes, group = [], ""
    for word in pattern.split():
        group = f"{group} {word}".strip()
        if group.count("(") == group.count(")"):
            axes.append(group)
            group = ""
    return axes
