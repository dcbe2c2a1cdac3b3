"""A procedural world of captioned clips whose masks, tracks and optical flow are known exactly.

It is what the embedded models learn from and what the judge measures against. `scene` says what is in a clip,
`captions` puts it into words, `geometry` moves things, `render` draws them. NumPy only.
"""

from .captions import caption
from .geometry import flow, layer_maps
from .render import Clip, render, render_change
from .scene import (
    BACKGROUNDS,
    CAMERAS,
    COLOURS,
    MOTIONS,
    SHAPES,
    SPEEDS,
    TEXTURES,
    Scene,
    Thing,
    held_out,
    sample_scene,
    without_motion,
)

__all__ = [
    "BACKGROUNDS",
    "CAMERAS",
    "COLOURS",
    "MOTIONS",
    "SHAPES",
    "SPEEDS",
    "TEXTURES",
    "Clip",
    "Scene",
    "Thing",
    "caption",
    "flow",
    "held_out",
    "layer_maps",
    "render",
    "render_change",
    "sample_scene",
    "without_motion",
]
