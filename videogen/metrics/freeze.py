"""Freezing of a clip: pairs of frames in which nothing moves, and how long they last. No weights.

There are two rules. `freeze` uses pixel differences only and finds clips that stop. `dynamic` is VBench's dynamic
degree (Huang et al., CVPR 2024) for measured flow: a pair moves where its fastest 5 % of pixels do, and a clip is
dynamic where enough pairs move; its threshold of 6 px at 256 px and 8 frames per second is scaled to the clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from videogen.core.errors import InputError

from .frame_statistics import check_clip

STILL_LEVELS = 2.0  # of 255: a pair is still if its most changed pixels change less
STILL_LIMIT_S = 1.0  # uninterrupted
STILL_FRACTION_LIMIT = 0.5
_FASTEST_FRACTION = 0.05
_DYNAMIC_PX, _DYNAMIC_SIDE_PX, _DYNAMIC_FPS = 6.0, 256.0, 8.0
_DYNAMIC_PAIRS = 4 / 16


@dataclass(frozen=True)
class Freeze:
    """fraction: of the pairs of frames that are still; longest_s: the longest run of them, from frame `at` on."""

    fraction: float
    longest_s: float
    at: int

    def faults(self) -> tuple[str, ...]:
        """The limits that are exceeded: stops (a long freeze), still (frozen for most of the clip)."""
        exceeded = {"stops": self.longest_s > STILL_LIMIT_S, "still": self.fraction > STILL_FRACTION_LIMIT}
        return tuple(name for name, is_exceeded in exceeded.items() if is_exceeded)


def changes(frames: np.ndarray) -> np.ndarray:
    """Mean change between neighbouring frames of the most changed 5 % of pixels, in levels: float64 [n - 1]."""
    check_clip(frames)
    count = max(1, round(_FASTEST_FRACTION * frames.shape[1] * frames.shape[2]))
    found = []
    for before, after in pairwise(frames):
        change = np.abs(after.astype(np.int16) - before).max(-1).ravel()
        found.append(np.partition(change, -count)[-count:].mean())
    return np.array(found, np.float64)


def freeze(changed: np.ndarray, fps: float) -> Freeze:
    """Freezing of a clip from the `changes` of all its pairs [n]."""
    if not len(changed) or not fps > 0:
        raise InputError(
            f"{len(changed)} pairs of frames at fps={fps} cannot be evaluated; give at least one, and a rate above 0"
        )
    still = np.asarray(changed) < STILL_LEVELS
    edges = np.flatnonzero(np.diff(np.concatenate([[False], still, [False]]).astype(np.int8)))
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    if not len(starts):
        return Freeze(0.0, 0.0, 0)
    longest = int(lengths.argmax())
    return Freeze(float(still.mean()), float(lengths[longest] / fps), int(starts[longest]))


def dynamic(fastest_px: np.ndarray, *, height: int, width: int, fps: float) -> bool:
    """Whether a clip moves, by VBench's rule. fastest_px: mean length of the fastest 5 % of the flow of each pair, px
    [n]."""
    if not len(fastest_px):
        raise InputError("a clip without pairs of frames cannot be evaluated; give at least one")
    least = _DYNAMIC_PX * min(height, width) / _DYNAMIC_SIDE_PX * _DYNAMIC_FPS / fps
    moving = int((np.asarray(fastest_px) > least).sum())
    return moving >= max(1, round(_DYNAMIC_PAIRS * (len(fastest_px) + 1)))
