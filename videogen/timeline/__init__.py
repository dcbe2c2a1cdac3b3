"""Storyboards and timelines of long videos: plain data, no torch.

    from videogen.timeline import as_timeline
    story = as_timeline("[00:00-00:04] a red ball moves right\\n[00:04-00:08, blend(8)] a blue ball moves right")
    timeline = story.compile(fps=16, frames=129, geometry=backbone.geometry, seed=1)   # in latent frames

`story` reads a timeline from text, TOML, a dict or a list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from videogen.core.lazy import lazy

if TYPE_CHECKING:
    from .latent_timeline import LatentShot, LatentTimeline
    from .story import as_timeline, from_frames, from_list, read_story
    from .story_text import parse_story
    from .timeline import Shot, Timeline, Transition

_HOMES = {
    "LatentShot": "latent_timeline",
    "LatentTimeline": "latent_timeline",
    "Shot": "timeline",
    "Timeline": "timeline",
    "Transition": "timeline",
    "as_timeline": "story",
    "from_frames": "story",
    "from_list": "story",
    "parse_story": "story_text",
    "read_story": "story",
}

__all__ = [
    "LatentShot",
    "LatentTimeline",
    "Shot",
    "Timeline",
    "Transition",
    "as_timeline",
    "from_frames",
    "from_list",
    "parse_story",
    "read_story",
]

__getattr__ = lazy(__name__, _HOMES)
