"""The policy object of a continuity configuration."""

from __future__ import annotations

from videogen.core.lazy import load_object
from videogen.longvideo.segment_plan import SegmentPlan
from videogen.request.continuity import Continuity
from videogen.timeline.latent_timeline import LatentTimeline

from .base import ContinuityPolicy


def build_policy(continuity: Continuity, clip: int, steps: int, single_first: bool) -> ContinuityPolicy:
    """The policy that the row's `home` names. The arguments are those of `ContinuityPolicy`."""
    policy = load_object(continuity.row.home, __package__)(continuity, clip, steps, single_first)
    assert isinstance(policy, ContinuityPolicy)
    return policy


def divide_timeline(timeline: LatentTimeline, continuity: Continuity, clip: int, steps: int) -> SegmentPlan:
    """The segments of a video. clip: latent frames that the model denoises at once; continuity: as `for_clip` returns
    it."""
    return build_policy(continuity, clip, steps, timeline.latent_map.single_first).divide(timeline)
