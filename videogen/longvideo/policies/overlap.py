"""Overlapping clips: they share the noise of the frames they share, and cross-fade these."""

from __future__ import annotations

from .chain import ClipChain


class Overlap(ClipChain):
    """All shared frames are cross-faded, unless `Continuity.fade` says fewer."""
