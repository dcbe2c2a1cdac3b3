"""Whether a long clip does again what it did: its strongest likeness to itself beyond a window. No weights.

Frames become small pictures (`thumbnails`, as they come); from each its mean over the clip is taken, so that a still
background likens nothing. Two runs of frames are as alike as 1 - sum |a - b|^2 / sum (|a|^2 + |b|^2): 1 where they are
equal, about 0 where they have nothing to do with each other. A motion that does come round, as of a thing in orbit, is
a repetition too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from videogen.core.errors import InputError

from .frame_statistics import check_clip

REPETITION_LIMIT = 0.9
SIDE = 12  # px of a thumbnail
_MOST = 2048  # frames compared; of longer clips every 2nd, 3rd, ... is taken
_QUIET_LEVELS = (
    1.0  # thumbnails that differ by less from the clip's mean, root mean square, are still: nothing repeats there
)


@dataclass(frozen=True)
class Repetition:
    """likeness: of the two runs that are most alike, -1 to 1; they begin at frames `first` and `second` and are
    `frames` long."""

    likeness: float
    first: int
    second: int
    frames: int

    def faults(self) -> tuple[str, ...]:
        """`repeats` where it breaks the limit."""
        return ("repeats",) if self.likeness > REPETITION_LIMIT else ()


def thumbnails(frames: np.ndarray) -> np.ndarray:
    """Frames uint8 [n, h, w, 3] as means over a 12x12 grid: float32 [n, 432], levels of 255."""
    check_clip(frames)
    return np.stack([_small(frame).ravel() for frame in frames])


def repetition(clip: np.ndarray, window: int) -> Repetition:
    """How like itself a clip of thumbnails [n, values] is, at least `window` frames apart; runs are half a window long.

    window: frames that are made in one go (a model's clip), within which likeness is no repetition.
    """
    if window < 2 or clip.ndim != 2 or len(clip) < window + max(1, window // 2):
        raise InputError(
            f"{len(clip)} thumbnails show no repetition beyond a window of {window}; give 1.5 windows of 2 or more"
        )
    stride = -(-len(clip) // _MOST)
    own = clip[::stride] - clip.mean(0, dtype=np.float64).astype(np.float32)
    apart, run = -(-window // stride), max(1, window // 2 // stride)
    energy, quiet = np.einsum("nv,nv->n", own, own, dtype=np.float64), _QUIET_LEVELS**2 * own.shape[1]
    best = (-1.0, 0, apart)
    for lag in range(apart, len(own) - run + 1):
        together = _runs(
            np.einsum("nv,nv->n", own[:-lag], own[lag:]), run
        )  # lag by lag: all at once would take as much as a model
        power = _runs(energy[: len(own) - lag] + energy[lag:], run)
        likeness = np.where(power > 2 * run * quiet, 2 * together / np.maximum(power, 1e-9), 0.0)
        at = int(likeness.argmax())
        best = max(best, (float(likeness[at]), at, at + lag))
    return Repetition(min(1.0, best[0]), best[1] * stride, best[2] * stride, run * stride)


def likeness(clip: np.ndarray, run: np.ndarray, window: int) -> float:
    """How like the most similar earlier run of a clip of thumbnails [n, values] a new `run` [m, values] is that follows
    it.

    Earlier runs end at least `window` frames before the new one's end; -1 where the clip is too short for one.
    """
    usable = clip[: max(0, len(clip) + len(run) - window)]
    if not len(run) or len(usable) < len(run):
        return -1.0
    mean = np.concatenate([clip, run]).mean(0, dtype=np.float64)
    new, old = run.astype(np.float64) - mean, usable.astype(np.float64) - mean
    starts = np.arange(len(old) - len(new) + 1)
    shared = old @ new.T
    together = sum(shared[starts + i, i] for i in range(len(new)))
    power = _runs((old**2).sum(1), len(new)) + (new**2).sum()
    quiet = 2 * len(new) * _QUIET_LEVELS**2 * clip.shape[1]
    return float(np.where(power > quiet, 2 * together / np.maximum(power, 1e-9), 0.0).max())


def _runs(values: np.ndarray, run: int) -> np.ndarray:
    """Sums over each `run` values in a row."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    return total[run:] - total[:-run]


def _small(frame: np.ndarray) -> np.ndarray:
    """Area means of a frame [h, w, 3] over a grid, float32 [SIDE, SIDE, 3]; of fewer px where the frame is smaller."""
    for axis in (0, 1):
        cells = min(SIDE, frame.shape[axis])
        edges = np.arange(cells) * frame.shape[axis] // cells
        counts = np.diff([*edges, frame.shape[axis]])
        shape = [1, 1, 1]
        shape[axis] = cells
        frame = np.add.reduceat(frame, edges, axis=axis, dtype=np.float32) / counts.reshape(shape).astype(np.float32)
    return frame
