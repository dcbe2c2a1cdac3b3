"""Contract of a continuity policy: division of scenes into segments, and what a segment takes over from the one before.

A policy is made once per render. It says which clips the model denoises for each segment and which of their frames copy
predictions (`divide_scene`), which noise the clips start from (`noise`), which frames are given (`prefix`), how many
predictions the next segment copies (`copies_predictions`), and what runs differently in the model meanwhile
(`attach`). It does not call the model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from videogen.backbones.base import Backbone
from videogen.longvideo.segment_noise import SegmentNoise
from videogen.longvideo.segment_plan import SegmentPlan
from videogen.longvideo.segments import Scene, Segment, find_scenes
from videogen.request.continuity import Continuity
from videogen.sampling.technique import Technique
from videogen.schedulers.noise.stream import NoiseStream, noise_stream
from videogen.timeline.latent_timeline import LatentTimeline


@dataclass(frozen=True)
class Prefix:
    """A technique that gives a clip its first frames.

    frames: how many latent frames it gives. Attention never skips these, and the prompt of the next one is theirs.
    """

    technique: Technique
    frames: int


class ContinuityPolicy(ABC):
    """Base of the policies. Without overrides, segments take over nothing.

    continuity: as `Continuity.for_clip` returns it; clip: latent frames that the model denoises at once; steps: of the
    plan; single_first: the first latent of a clip decodes to a single frame (causal VAEs).
    """

    #: whether a segment's first frames copy the predictions of the last `overlap` frames of the one before
    copies_predictions = False

    def __init__(self, continuity: Continuity, clip: int, steps: int, single_first: bool) -> None:
        self.continuity, self.clip, self.steps = continuity, clip, steps
        self.anchor = int(single_first)
        self.overlap = continuity.overlap or 0

    @property
    def release(self) -> int:
        """In how many steps, from the first on, frames copy predictions."""
        return round((self.continuity.release or 0) * self.steps)

    @property
    def retained_frames(self) -> int:
        """Of how many last frames a segment's predictions are retained for the next one."""
        return self.overlap if self.copies_predictions else 0

    def divide(self, timeline: LatentTimeline) -> SegmentPlan:
        """All segments of a video, in order."""
        return SegmentPlan(find_scenes(timeline), self.divide_scene)

    @abstractmethod
    def divide_scene(self, scene: Scene) -> Iterator[Segment]:
        """The segments of a scene, in order, with any `index`. Together they emit each of its latents once.

        From the second on they should follow each other at a constant stride: then a scene's length costs no memory.
        """

    def noise(self, timeline: LatentTimeline, warped: Callable[[int], NoiseStream] | None = None) -> SegmentNoise:
        """The noise of the segments' clips.

        warped: the stream of a shot, by number, where noise follows a motion.
        """
        return SegmentNoise(timeline, warped or (lambda index: self.shot_stream(timeline.shots[index].seed)))

    def shot_stream(self, seed: int) -> NoiseStream:
        """The noise of a shot with this seed."""
        return noise_stream(self.continuity.noise, seed, **self.continuity.noise_row.stream_settings(self.clip))

    def prefix(self, backbone: Backbone, tail: torch.Tensor, last_frame: np.ndarray | None) -> Prefix | None:
        """The frames that a segment within a scene is given; None: it is given none.

        tail [1, c, f, h, w]: the scene's last latents, as many as a clip has or fewer; last_frame: the last frame
        decoded, uint8 [h, w, 3]; None: none is decoded yet.
        """
        return None

    def attach(self, backbone: Backbone, segment: Segment) -> AbstractContextManager[Any]:
        """What is attached to the model while a segment is denoised."""
        return nullcontext()
