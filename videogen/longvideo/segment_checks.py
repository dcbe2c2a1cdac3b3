"""A new segment of a long video, held against what is before it: does a seam show, does it stand still, stray, repeat
what was?

And how it is faded in.
"""

from __future__ import annotations

import math

import torch

from videogen.backbones.base import Backbone
from videogen.longvideo.segments import Segment
from videogen.metrics.freeze import changes, freeze
from videogen.metrics.long_clip import LongClip
from videogen.metrics.seams import least, reach, seam
from videogen.request.resolved import ResolvedRequest
from videogen.sampling.checks import Tiling


def faults(
    backbone: Backbone,
    request: ResolvedRequest,
    segment: Segment,
    tail: torch.Tensor | None,
    made: torch.Tensor,
    meter: LongClip,
    *,
    same_shot: bool,
) -> tuple[list[str], float]:
    """(limits that a new segment breaks, how far its worst seam is from 1).

    tail: the latents before; meter: has seen the frames before; same_shot: whether the segment shows what the meter's
    shot shows.
    """
    temporal = backbone.geometry.temporal
    context = 0 if tail is None else min(tail.shape[2], -(-reach(temporal) // temporal) + 1)
    latents = made if tail is None or not context else torch.cat([tail[:, :, -context:], made], 2)
    with Tiling(backbone, request.vae_tiling):
        pixels = backbone.decode(latents.to(backbone.device))
    frames = (pixels[0] * 255).round().to(torch.uint8).cpu().numpy()
    first = len(frames) - made.shape[2] * temporal
    places = [first + (latent - segment.start) * temporal for latent in segment.joins] if context else []
    found = [seam(frames, at, temporal) for at in places if least(temporal) <= at <= len(frames) - least(temporal)]
    still = freeze(changes(frames), float(request.fps)).faults() if len(frames) > 1 else ()
    strays = () if segment.first else meter.faults_of_next(frames[max(0, first) :], same_shot=same_shot)
    broken = [f"{name} at {at.frame - first}" for at in found for name in at.faults()]
    return [*broken, *still, *strays], max((abs(math.log(at.ratio)) for at in found), default=0.0)


def faded(before: torch.Tensor, after: torch.Tensor, inner: bool) -> torch.Tensor:
    """`after` [1, c, f, h, w] that comes in over `before` [1, c, n, h, w]. inner: whether the clips share frames before
    these; else the first is all before's, as a clip's first latent may be a picture."""
    count = min(before.shape[2], after.shape[2])
    share = ((torch.arange(count) + inner) / (before.shape[2] + inner)).view(-1, 1, 1).to(after)
    mixed = torch.lerp(before[:, :, :count].to(after), after[:, :, :count], share)
    return torch.cat([mixed, after[:, :, count:]], 2)
