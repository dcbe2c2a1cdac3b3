"""Checks of a new segment against the video before it (seams, freezing, drift, repetition), and its cross-fade."""

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


def find_faults(
    backbone: Backbone,
    request: ResolvedRequest,
    segment: Segment,
    tail: torch.Tensor | None,
    latents: torch.Tensor,
    meter: LongClip,
    *,
    same_shot: bool,
) -> tuple[list[str], float]:
    """(faults of a new segment, how far its worst seam ratio is from 1, as an absolute logarithm).

    tail: the latents before it; latents: its own; meter: of the frames before it; same_shot: whether the segment shows
    the shot that the meter is in.
    """
    temporal = backbone.geometry.temporal
    context = 0 if tail is None else min(tail.shape[2], -(-reach(temporal) // temporal) + 1)
    decoded = latents if tail is None or not context else torch.cat([tail[:, :, -context:], latents], 2)
    with Tiling(backbone, request.vae_tiling):
        pixels = backbone.decode(decoded.to(backbone.device))
    frames = (pixels[0] * 255).round().to(torch.uint8).cpu().numpy()
    first = len(frames) - latents.shape[2] * temporal
    places = [first + (latent - segment.start) * temporal for latent in segment.joins] if context else []
    seams = [seam(frames, at, temporal) for at in places if least(temporal) <= at <= len(frames) - least(temporal)]
    still = freeze(changes(frames), float(request.fps)).faults() if len(frames) > 1 else ()
    drift = () if segment.first else meter.faults_of_next(frames[max(0, first) :], same_shot=same_shot)
    visible = [f"{name} at {at.frame - first}" for at in seams for name in at.faults()]
    return [*visible, *still, *drift], max((abs(math.log(at.ratio)) for at in seams), default=0.0)


def cross_fade(before: torch.Tensor, after: torch.Tensor, inner: bool) -> torch.Tensor:
    """`after` [1, c, f, h, w], its first frames cross-faded with `before` [1, c, n, h, w].

    inner: whether the clips also share frames before these; if not, the first frame is `before`'s alone, since a clip's
    first latent may decode to a single frame.
    """
    count = min(before.shape[2], after.shape[2])
    weight = ((torch.arange(count) + inner) / (before.shape[2] + inner)).view(-1, 1, 1).to(after)
    mixed = torch.lerp(before[:, :, :count].to(after), after[:, :, :count], weight)
    return torch.cat([mixed, after[:, :, count:]], 2)
