"""A long video's latents to its frames, as they come: one streaming decoder a scene, the leads left out, the joins
known.

Frames are those of decoding each scene whole, bit for bit (`backbones.streaming`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from videogen.backbones.base import Backbone
from videogen.backbones.streaming import StreamDecoder
from videogen.core.frame_latent_map import FrameLatentMap
from videogen.longvideo.segments import Segment
from videogen.sampling.checks import check_finite


@dataclass(frozen=True)
class Part:
    """Some frames, uint8 [n, h, w, 3]. joins: they are to go on without a seam from those before; begins: a shot begins
    with them."""

    frames: np.ndarray
    joins: bool
    begins: bool


class FrameStream:
    """Takes each segment's latents in order. limit: frames of the video; what a last latent holds beyond is left out.
    breaks: the frames with which shots begin."""

    def __init__(self, backbone: Backbone, limit: int, breaks: Sequence[int] = ()) -> None:
        self._backbone, self._left, self._breaks = backbone, limit, set(breaks)
        self._latent_map = FrameLatentMap.from_geometry(backbone.geometry)
        self._decoder: StreamDecoder | None = None
        self._hidden = 0  # frames of the scene's lead that are still to come
        self._joins: list[int] = []  # frames at which segments meet, of those to come
        self.given = 0
        self.last: np.ndarray | None = None  # the last frame given, uint8 [h, w, 3]

    def push(self, segment: Segment, latents: torch.Tensor) -> Iterator[Part]:
        """What is settled, split at the joins and where shots begin."""
        if segment.first:
            yield from self.finish()
            self._decoder, self._hidden = self._backbone.stream_decoder(), segment.scene.lead
        self._joins += [self.frame_of(segment, latent) for latent in segment.joins]
        assert self._decoder is not None
        yield from self._split(self._decoder.push(latents))

    def finish(self) -> Iterator[Part]:
        """What the scene's decoder held back."""
        decoder, self._decoder = self._decoder, None
        if decoder is not None:
            yield from self._split(decoder.finish())

    def frame_of(self, segment: Segment, latent: int) -> int:
        """The video's first frame of a job latent."""
        return self._latent_map.frames_of(segment.scene.video_latent(latent)).start

    def _split(self, pixels: torch.Tensor) -> Iterator[Part]:
        check_finite(pixels, "decode", self._backbone.dtype)
        frames = (pixels[0] * 255).round().to(torch.uint8).cpu().numpy()
        hidden = min(self._hidden, len(frames))
        self._hidden -= hidden
        frames = frames[hidden : hidden + self._left]
        while len(frames):
            at = self.given
            ahead = [place - at for place in (*self._joins, *self._breaks) if place > at]
            count = min([len(frames), *ahead])
            part, frames = frames[:count], frames[count:]
            self.given, self._left, self.last = at + count, self._left - count, part[-1]
            yield Part(part, at in self._joins, at in self._breaks)
        self._joins = [place for place in self._joins if place >= self.given]
