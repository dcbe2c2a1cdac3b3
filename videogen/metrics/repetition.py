"""Repetition in a long clip: its largest self-similarity beyond a window. No weights.

Frames are reduced to thumbnails (one at a time), from which the mean over the clip is subtracted, so that a static
background does not count as similar. The similarity of two runs of frames is 1 - sum |a - b|^2 / sum (|a|^2 + |b|^2): 1
where they are equal, about 0 where they are unrelated. Periodic motion, such as an orbiting object, also counts as
repetition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from videogen.core.errors import InputError

from .frame_statistics import check_clip

REPETITION_LIMIT = 0.9
SIDE = 12  # px of a thumbnail
_MOST = 2048  # frames compared; of longer clips every 2nd, 3rd, ... is used
_QUIET_LEVELS = 1.0  # thumbnails with a smaller RMS difference from the clip's mean are static: nothing repeats there


@dataclass(frozen=True)
class Repetition:
    """similarity: of the two most similar runs, -1 to 1; they begin at frames `first` and `second` and are `frames`
    long."""

    similarity: float
    first: int
    second: int
    frames: int

    def faults(self) -> tuple[str, ...]:
        """`repeats` where the limit is exceeded."""
        return ("repeats",) if self.similarity > REPETITION_LIMIT else ()


def thumbnails(frames: np.ndarray) -> np.ndarray:
    """Frames uint8 [n, h, w, 3] as means over a 12x12 grid: float32 [n, 432], levels of 255."""
    check_clip(frames)
    return np.stack([_downsample(frame).ravel() for frame in frames])


def repetition(clip: np.ndarray, window: int) -> Repetition:
    """Self-similarity of a clip of thumbnails [n, values] between runs at least `window` frames apart; runs are half a
    window long.

    window: frames that are generated at once (the model's native clip), within which similarity is not repetition.
    """
    if window < 2 or clip.ndim != 2 or len(clip) < window + max(1, window // 2):
        raise InputError(
            f"{len(clip)} thumbnails show no repetition beyond a window of {window}; give 1.5 windows of 2 or more"
        )
    stride = -(-len(clip) // _MOST)
    centred = clip[::stride] - clip.mean(0, dtype=np.float64).astype(np.float32)
    distance, run = -(-window // stride), max(1, window // 2 // stride)
    energy, quiet = np.einsum("nv,nv->n", centred, centred, dtype=np.float64), _QUIET_LEVELS**2 * centred.shape[1]
    best = (-1.0, 0, distance)
    for lag in range(distance, len(centred) - run + 1):  # one lag at a time: all at once would need as much as a model
        together = _run_sums(np.einsum("nv,nv->n", centred[:-lag], centred[lag:]), run)
        power = _run_sums(energy[: len(centred) - lag] + energy[lag:], run)
        similarities = np.where(power > 2 * run * quiet, 2 * together / np.maximum(power, 1e-9), 0.0)
        at = int(similarities.argmax())
        best = max(best, (float(similarities[at]), at, at + lag))
    return Repetition(min(1.0, best[0]), best[1] * stride, best[2] * stride, run * stride)


def similarity(clip: np.ndarray, run: np.ndarray, window: int) -> float:
    """Similarity of a new `run` [m, values] to the most similar earlier run of the clip of thumbnails [n, values] that
    it continues.

    Earlier runs end at least `window` frames before the end of the new one; -1 where the clip is too short for one.
    """
    usable = clip[: max(0, len(clip) + len(run) - window)]
    if not len(run) or len(usable) < len(run):
        return -1.0
    mean = np.concatenate([clip, run]).mean(0, dtype=np.float64)
    new, old = run.astype(np.float64) - mean, usable.astype(np.float64) - mean
    starts = np.arange(len(old) - len(new) + 1)
    shared = old @ new.T
    together = sum(shared[starts + i, i] for i in range(len(new)))
    power = _run_sums((old**2).sum(1), len(new)) + (new**2).sum()
    quiet = 2 * len(new) * _QUIET_LEVELS**2 * clip.shape[1]
    return float(np.where(power > quiet, 2 * together / np.maximum(power, 1e-9), 0.0).max())


def _run_sums(values: np.ndarray, run: int) -> np.ndarray:
    """Sums over all runs of `run` consecutive values."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    return total[run:] - total[:-run]


def _downsample(frame: np.ndarray) -> np.ndarray:
    """Area means of a frame [h, w, 3] over a grid, float32 [SIDE, SIDE, 3]; with fewer px where the frame is
    smaller."""
    for axis in (0, 1):
        cells = min(SIDE, frame.shape[axis])
        edges = np.arange(cells) * frame.shape[axis] // cells
        counts = np.diff([*edges, frame.shape[axis]])
        shape = [1, 1, 1]
        shape[axis] = cells
        frame = np.add.reduceat(frame, edges, axis=axis, dtype=np.float32) / counts.reshape(shape).astype(np.float32)
    return frame
