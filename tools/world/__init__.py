"""A procedural world of captioned clips whose masks, tracks and optical flow are known exactly.

The embedded models are trained on it, and the judge is validated on it. `scene` defines the content of a clip,
`captions` describes it, `geometry` moves objects, `render` draws them. NumPy only.
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
