"""Streaming decoder of a long video: latents to frames as they come, scene by scene, warm-up frames left out.

The frames are those of decoding each scene at once, bit for bit (`backbones.streaming`). Where a segment was
regenerated, those of the other segments stay as they were (`scene_decoder`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from videogen.backbones.base import Backbone
from videogen.core.frame_latent_map import FrameLatentMap
from videogen.longvideo.segments import Segment
from videogen.sampling.checks import check_finite

from .journal.records import SegmentRecord
from .scene_decoder import SceneDecoder
from .segment_versions import SceneVersions


@dataclass(frozen=True)
class FrameBatch:
    """Some frames, uint8 [n, h, w, 3]. joins: they should continue those before without a seam; begins: a shot begins
    with them."""

    frames: np.ndarray
    joins: bool
    begins: bool


class FrameStream:
    """Decodes each segment's latents in order. limit: frames of the video, beyond which the last latent's are left out;
    breaks: the frames with which shots begin."""

    def __init__(self, backbone: Backbone, limit: int, breaks: Sequence[int] = ()) -> None:
        self._backbone, self._left, self._breaks = backbone, limit, set(breaks)
        self._latent_map = FrameLatentMap.from_geometry(backbone.geometry)
        self._decoder: SceneDecoder | None = None
        self._warmup = 0  # frames of the scene's warm-up latent that are still to come
        self._joins: list[int] = []  # frames still to come at which segments meet
        self.count = 0
        self.last_frame: np.ndarray | None = None  # the last one yielded, uint8 [h, w, 3]

    def push(self, segment: Segment, scene: SceneVersions, record: SegmentRecord) -> Iterator[FrameBatch]:
        """The frames that are final with a segment, split at the joins and where shots begin.

        record: the segment as the video shows it; scene: the versions of its scene's segments.
        """
        if segment.first:
            yield from self.finish()
            ends = [self._latent_map.frame_count(one.stop - one.scene.start) for one in scene.segments]
            length = segment.scene.stop - segment.scene.start
            self._decoder = SceneDecoder(self._backbone.stream_decoder(length), scene.chains(), ends)
            self._warmup = segment.scene.warmup

        def latents(version: int) -> torch.Tensor:
            return scene.latents(segment.index, version, record).to(self._backbone.device)

        self._joins += [self.first_frame(segment, latent) for latent in segment.joins]
        assert self._decoder is not None
        yield from self._split(self._decoder.push(latents))

    def finish(self) -> Iterator[FrameBatch]:
        """The frames that the scene's decoder held back."""
        decoder, self._decoder = self._decoder, None
        if decoder is not None:
            yield from self._split(decoder.finish())

    def first_frame(self, segment: Segment, latent: int) -> int:
        """The video's first frame of a job latent."""
        return self._latent_map.frames_of(segment.scene.video_latent(latent)).start

    def _split(self, pixels: torch.Tensor | None) -> Iterator[FrameBatch]:
        if pixels is None:
            return
        check_finite(pixels, "decode", self._backbone.dtype)
        frames = (pixels[0] * 255).round().to(torch.uint8).cpu().numpy()
        skipped = min(self._warmup, len(frames))
        self._warmup -= skipped
        frames = frames[skipped : skipped + self._left]
        while len(frames):
            at = self.count
            ahead = [place - at for place in (*self._joins, *self._breaks) if place > at]
            length = min([len(frames), *ahead])
            batch, frames = frames[:length], frames[length:]
            self.count, self._left, self.last_frame = at + length, self._left - length, batch[-1]
            yield FrameBatch(batch, at in self._joins, at in self._breaks)
        self._joins = [place for place in self._joins if place >= self.count]
