"""Videos longer than a model's clip: what they show when, and what keeps a long render safe.

    from videogen.longvideo import Journal, as_timeline
    timeline = as_timeline("[00:00-00:04] a red ball moves right\\n[00:04-00:08, blend(8)] a blue ball moves right")
    shown = timeline.compile(fps=16, frames=129, geometry=backbone.geometry, seed=1)      # per latent frame: prompts, seed, cuts

`story` reads a timeline from text, TOML, a dict or a list; `continuity` says how clips hang together and `pieces` cuts a timeline
into them; `journal` keeps a render's finished chunks on disk. What renders them is `Engine.render_long`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from videogen.core.lazy import lazy

if TYPE_CHECKING:
    from .clock import LatentClock
    from .continuity import Continuity
    from .job import job_folder, read_request
    from .journal import Journal
    from .latent_timeline import LatentShot, LatentTimeline
    from .records import Chunk
    from .story import as_timeline, from_frames, from_list, read_story
    from .story_text import parse_story
    from .timeline import Shot, Timeline, Transition

_HOMES = {
    "Chunk": "records",
    "Continuity": "continuity",
    "Journal": "journal",
    "LatentClock": "clock",
    "LatentShot": "latent_timeline",
    "LatentTimeline": "latent_timeline",
    "Shot": "timeline",
    "Timeline": "timeline",
    "Transition": "timeline",
    "as_timeline": "story",
    "from_frames": "story",
    "from_list": "story",
    "job_folder": "job",
    "parse_story": "story_text",
    "read_request": "job",
    "read_story": "story",
}

__all__ = [
    "Chunk",
    "Continuity",
    "Journal",
    "LatentClock",
    "LatentShot",
    "LatentTimeline",
    "Shot",
    "Timeline",
    "Transition",
    "as_timeline",
    "from_frames",
    "from_list",
    "job_folder",
    "parse_story",
    "read_request",
    "read_story",
]

__getattr__ = lazy(__name__, _HOMES)
