"""Windowed temporal attention: a longer clip whose temporal layers see windows (FreeNoise, 2310.15169). For UNets.

FreeNoise itself is the preset `freenoise`: its noise, its weights, and one clip for the entire scene.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from videogen.backbones.base import Backbone
from videogen.longvideo.segments import Segment
from videogen.schedulers.windows import FUSIONS
from videogen.techniques.window_attention import attach_window_attention

from .sections import Sections


class WindowedTemporalAttention(Sections):
    """Spatial layers see the full section, so that one evaluation covers it."""

    def attach(self, backbone: Backbone, segment: Segment) -> AbstractContextManager[Any]:
        if segment.frames <= self.clip:
            return super().attach(backbone, segment)
        fusion = self.continuity.fusion or FUSIONS[0]
        return attach_window_attention(backbone, self.clip, self.overlap, self.weights, fusion)
