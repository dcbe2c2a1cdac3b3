"""Replay: a clip's first frames copy the predictions of the last clip's end (CoNo's replacement, 2406.05082).

With the same noise, frames that copy in all steps end exactly where the frames they copy ended, with any solver.
"""

from __future__ import annotations

from .chain import ClipChain


class Replay(ClipChain):
    """Frames copy until `Continuity.release`; where that is before the last step, what differs is cross-faded."""

    copies_predictions = True
