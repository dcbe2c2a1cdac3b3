"""Overlapping windows over a clip longer than the model's native length: their positions, and the fusion of their
predictions.

Each step predicts every window and averages the overlaps (Gen-L-Video, 2305.18264; `pyramid` weights are those of
FreeNoise's window fusion, 2310.15169, and `triangular` ones our variant of them). The weights sum to 1 at every frame,
and where a single window covers a frame, its value is used bit for bit. Averaging is suitable for predictions, and for
latents of one global noise; the average of independent noises is not standard normal.

    windows = Windows(frames=45, size=21, overlap=8, anchor=True)
    prediction = windows.fuse((predict(latents[:, :, w.slots]) for w in windows.at(step)), step)

Legend: [b, c, f, h, w]. Slots count the frames of a window from 0. Importing this module does not load torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from videogen.core.checks import at_least
from videogen.core.errors import InputError, unknown

if TYPE_CHECKING:
    import torch

WEIGHTS = ("flat", "triangular", "linear", "pyramid")
SCHEDULES = ("static", "staggered")
#: what window attention averages: the output of a block, or of its attentions, before its feed-forward layer
FUSIONS = ("block", "attention")


@dataclass(frozen=True)
class Window:
    """Latent frames that are passed to the model as one clip. anchor: slots at its head whose prediction is
    discarded."""

    start: int
    size: int
    anchor: int = 0

    @property
    def stop(self) -> int:
        return self.start + self.size

    @property
    def slots(self) -> slice:
        """The slice of the long clip that is passed to the model."""
        return slice(self.start, self.stop)

    @property
    def first(self) -> int:
        """The first frame whose prediction is used."""
        return self.start + self.anchor


@dataclass(frozen=True)
class Windows:
    """The windows of a long clip at each step. InputError for numbers that do not fit.

    frames: latent frames of the long clip. size: of each window, the model's native clip. overlap: least number of
    frames common to neighbours; the last window is shifted left, never shortened. anchor: models with a causal VAE
    treat slot 0 as a single image, so windows after the first begin one frame earlier and discard that slot (it is not
    counted in the overlap). weights: `flat`; `triangular`, half a window minus the distance from its centre (0.5 to 7.5
    in a window of 16); `linear`, ramps over the overlaps only; `pyramid`, FreeNoise's 1, 2, ..., 8, 8, ..., 2, 1
    (2310.15169, equation 9). schedule: `static`, or `staggered`: at odd steps windows begin half a stride later, so
    that seams do not stay in one place.
    """

    frames: int
    size: int
    overlap: int
    anchor: bool = False
    weights: str = "triangular"
    schedule: str = "static"

    def __post_init__(self) -> None:
        for kind, name, known in (("weights", self.weights, WEIGHTS), ("schedule", self.schedule, SCHEDULES)):
            if name not in known:
                raise unknown(f"windows' {kind}", name, known)
        at_least("size", self.size, 1 + self.anchor)
        at_least("overlap", self.overlap, 0)
        if self.frames < self.size:
            raise InputError(
                f"a clip of {self.frames} latent frames is shorter than its window of {self.size}; "
                f"use size={max(self.frames, 1)} or a clip of {self.size} or more"
            )
        least = 2 if self.schedule == "staggered" else 1
        if self.stride < least:
            raise InputError(
                f"overlap={self.overlap} leaves windows of size={self.size}{' (anchor included)' * self.anchor} a "
                "stride "
                f"of {self.stride}, and {self.schedule} ones need {least}; {self._suggest(least)}"
            )

    def _suggest(self, least: int) -> str:
        most = self.size - self.anchor - least
        return f"use overlap={most} or less" if most >= 0 else f"use size={self.size - most} or more"

    @property
    def stride(self) -> int:
        """Frames from one window's start to the next's."""
        return self.size - self.anchor - self.overlap

    def at(self, step: int = 0) -> tuple[Window, ...]:
        """The windows at a step (counted from 0), from left to right."""
        last = self.frames - self.size
        begin = self.stride // 2 if self.schedule == "staggered" and step % 2 else self.stride
        starts = [0, *range(begin, last, self.stride), *([last] if last else [])]
        return tuple(Window(start, self.size, int(self.anchor and start > 0)) for start in starts)

    def weights_at(self, step: int = 0) -> tuple[tuple[float, ...], ...]:
        """Each window's weight at each slot, summing to 1 at every frame of the clip."""
        windows = self.at(step)
        raw = [self._shape(windows, index) for index in range(len(windows))]
        totals = [0.0] * self.frames
        for window, weights in zip(windows, raw, strict=True):
            for slot, weight in enumerate(weights):
                totals[window.start + slot] += weight
        return tuple(
            tuple(weight / totals[window.start + slot] for slot, weight in enumerate(weights))
            for window, weights in zip(windows, raw, strict=True)
        )

    def fuse(self, predictions: Iterable[torch.Tensor], step: int = 0) -> torch.Tensor:
        """The fused prediction [b, c, frames, h, w] of the windows' predictions [b, c, size, h, w], which are consumed
        one at a time in the order of `at`.

        Summed in fp32 or better, returned in the predictions' dtype. InputError for a wrong number of windows or a
        wrong shape.
        """
        import torch

        windows, weights = self.at(step), self.weights_at(step)
        given, fused = 0, torch.empty(0)
        dtype = wide = torch.float32
        for given, prediction in enumerate(predictions, 1):
            if given > len(windows):
                break
            window, weight = windows[given - 1], weights[given - 1]
            if prediction.shape[2] != self.size:
                raise InputError(
                    f"the prediction of window {given} has {prediction.shape[2]} frames; windows here have {self.size}"
                )
            if given == 1:
                dtype = prediction.dtype
                wide = torch.promote_types(dtype, torch.float32)
                fused = prediction.new_zeros(*prediction.shape[:2], self.frames, *prediction.shape[3:], dtype=wide)
            scale = torch.tensor(weight[window.anchor :], dtype=wide, device=prediction.device).view(-1, 1, 1)
            fused[:, :, window.first : window.stop] += scale * prediction[:, :, window.anchor :]
        if given != len(windows):
            raise InputError(
                f"step {step} has {len(windows)} windows, not {given}; give one prediction per window of "
                f"`at({step})`, in "
                "order"
            )
        return fused.to(dtype)

    def _shape(self, windows: tuple[Window, ...], index: int) -> list[float]:
        """The weight of a window at each slot, before normalisation; 0 at the anchor."""
        window = windows[index]
        length = window.stop - window.first
        left = max(0, windows[index - 1].stop - window.first) if index else 0
        right = max(0, window.stop - windows[index + 1].first) if index + 1 < len(windows) else 0
        shape = [_weight(self.weights, i, length, left, right) for i in range(length)]
        return [0.0] * window.anchor + shape


def _weight(kind: str, i: int, length: int, left: int, right: int) -> float:
    """Weight of the i-th of `length` used frames, of which `left` and `right` overlap the neighbours."""
    if kind == "flat":
        return 1.0
    if kind == "triangular":
        return length / 2 - abs(i - (length - 1) / 2)
    if kind == "pyramid":
        return float(min(i + 1, length - i))
    return min(1.0, (i + 1) / (left + 1), (length - i) / (right + 1))
