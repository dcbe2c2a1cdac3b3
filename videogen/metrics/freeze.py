"""Whether a clip stands still: pairs of frames in which nothing moves, and how long they last. No weights.

Two rules. `freeze` looks at pixels, needs nothing else and finds a picture that stopped. `dynamic` is VBench's dynamic
degree (Huang et al., CVPR 2024) for flow that somebody measured: a pair moves where its fastest 5 % do, and a clip is
dynamic where enough pairs move; its 6 px at 256 px and 8 frames a second are scaled to the clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from videogen.core.errors import InputError

from .frame_statistics import check_clip

STILL_LEVELS = 2.0  # of 255: a pair whose most changed pixels change less is still
STILL_LIMIT_S = 1.0  # seconds on end
STILL_SHARE_LIMIT = 0.5
_FASTEST_SHARE = 0.05
_DYNAMIC_PX, _DYNAMIC_SIDE_PX, _DYNAMIC_FPS = 6.0, 256.0, 8.0
_DYNAMIC_PAIRS = 4 / 16


@dataclass(frozen=True)
class Freeze:
    """share: of pairs of frames that are still; longest_s: the longest stretch of them, from frame `at` on."""

    share: float
    longest_s: float
    at: int

    def faults(self) -> tuple[str, ...]:
        """Which limits it breaks: stops (for long), still (for the most part)."""
        return tuple(
            name
            for name, is_so in (("stops", self.longest_s > STILL_LIMIT_S), ("still", self.share > STILL_SHARE_LIMIT))
            if is_so
        )


def changes(frames: np.ndarray) -> np.ndarray:
    """How much each frame's most changed 5 % of pixels change to the next, mean in levels: float64 [n - 1]."""
    check_clip(frames)
    count = max(1, round(_FASTEST_SHARE * frames.shape[1] * frames.shape[2]))
    found = []
    for before, after in pairwise(frames):
        change = np.abs(after.astype(np.int16) - before).max(-1).ravel()
        found.append(np.partition(change, -count)[-count:].mean())
    return np.array(found, np.float64)


def freeze(changed: np.ndarray, fps: float) -> Freeze:
    """How a clip stands still, by the `changes` of all its pairs [n]."""
    if not len(changed) or not fps > 0:
        raise InputError(
            f"{len(changed)} pairs of frames at fps={fps} show nothing; give at least one, and a rate above 0"
        )
    still = np.asarray(changed) < STILL_LEVELS
    edges = np.flatnonzero(np.diff(np.concatenate([[False], still, [False]]).astype(np.int8)))
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    if not len(starts):
        return Freeze(0.0, 0.0, 0)
    longest = int(lengths.argmax())
    return Freeze(float(still.mean()), float(lengths[longest] / fps), int(starts[longest]))


def dynamic(fastest_px: np.ndarray, *, height: int, width: int, fps: float) -> bool:
    """Whether a clip moves, by VBench's rule. fastest_px: of each pair, the mean length of its fastest 5 % of flow, px
    [n]."""
    if not len(fastest_px):
        raise InputError("a clip without pairs of frames cannot be judged; give at least one")
    least = _DYNAMIC_PX * min(height, width) / _DYNAMIC_SIDE_PX * _DYNAMIC_FPS / fps
    moving = int((np.asarray(fastest_px) > least).sum())
    return moving >= max(1, round(_DYNAMIC_PAIRS * (len(fastest_px) + 1)))
