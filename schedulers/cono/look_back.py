"""CoNo look-back: the extension of a clip by three clips that share its noise, with frames copied between them
(2406.05082).

Reimplemented from the paper's text and figures, since no code was published. A finished clip A is extended by

    B   extending: begins with A's last n1 frames; none of it is emitted M   internal: between A's last n1 frames and n2
    frames of B, so the join is fixed on both sides; its middle is emitted D   extending: begins with M's last frames;
    all of it is emitted, and it is A of the next extension

Each starts from a permutation of the same noise. Before step `release`, copied frames take the prediction of their
source frames. Since the noise is the same too, their latents are equal bit for bit, with any solver and any prediction
type. Each step predicts B, M and D (in one batch), applies `MeanRegularisation` to each in this order, then `replay` to
each in this order, then the solver.

Published: the permutations, which frames are copied from where, and which are emitted. Inferred, hence options: the
number of M's frames that D copies (`handover`; the colours of the figure indicate n2), whether M stops copying from B
at the same step as all others (`right_release`), whose mean the regularisation uses (`mean_of`), and the unit of the
published release "T_d = 10" (`look_back`). Legend: [b, c, f, h, w]. Slots count the frames of a clip from 0. Importing
this module does not load torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from videogen.core.checks import at_least
from videogen.core.errors import InputError, unknown

if TYPE_CHECKING:
    import torch

SOURCE = "A"
CLIPS = ("B", "M", "D")
FIRST = "first"  # as the source of the mean: the first clip of the video
MEANS = ("adjacent", FIRST)


def extend(n_frames: int, n1: int) -> list[int]:
    """Source frames of the noise of an extending clip: the last n1 frames in order, then the others in reverse."""
    _check_count("n1", n1, n_frames)
    return [*range(n_frames - n1, n_frames), *range(n_frames - n1 - 1, -1, -1)]


def internal(n_frames: int, n1: int, n2: int) -> list[int]:
    """Source frames of the noise of an internal clip: the first n1 stay, the n2 after them move to the end."""
    _check_count("n1", n1, n_frames)
    _check_count("n2", n2, n_frames - n1)
    return [*range(n1), *range(n1 + n2, n_frames), *range(n1, n1 + n2)]


@dataclass(frozen=True)
class CopyFrom:
    """Slots that copy the prediction of another clip's slots in the steps before `release`.

    A's slots are negative, counted from its end, so that only its last n1 frames need to be stored.
    """

    slots: range
    source: str
    source_slots: range
    release: int


@dataclass(frozen=True)
class Clip:
    """One of the three clips of an extension. order: for each slot, the slot of `noise_source` whose noise it uses;
    mean_source: the clip whose mean it is regularised to; emitted: the slots that become frames of the video."""

    name: str
    noise_source: str
    order: tuple[int, ...]
    copies: tuple[CopyFrom, ...]
    mean_source: str
    emitted: range

    @cached_property
    def copied(self) -> frozenset[int]:
        """Slots that are copied, and therefore use the noise of their source unchanged."""
        return frozenset(slot for copy in self.copies for slot in copy.slots)


@dataclass(frozen=True)
class LookBack:
    """Schedule of an extension. InputError for numbers that do not fit.

    frames: of each clip; n1, n2: frames copied on the left and on the right. release: number of steps, from the first
    on, in which frames are copied; right_release: the same for the frames that M copies from B, None: `release`.
    handover: number of M's last frames that D copies, None: n2; M is emitted up to there. mean_of: `adjacent`, each
    clip is regularised to the mean of the clip before it, or `first`, to that of the first clip of the video. anchor:
    the number of frames common to M and D that are emitted from M: 1 where the first latent of a clip is a single
    image.
    """

    frames: int
    n1: int
    n2: int
    release: int
    right_release: int | None = None
    handover: int | None = None
    mean_of: str = MEANS[0]
    anchor: int = 0

    def __post_init__(self) -> None:
        for name in ("n1", "n2"):
            at_least(name, getattr(self, name), 1)
        for name in ("release", "right_release"):
            at_least(name, getattr(self, name) or 0, 0)
        if self.n1 + self.n2 >= self.frames:
            raise InputError(
                f"n1={self.n1} and n2={self.n2} copy all of frames={self.frames} and leave none to generate; "
                f"let n1 + n2 be at most {self.frames - 1}, or use longer clips"
            )
        if self.handover is not None and not 1 <= self.handover <= self.frames - self.n1:
            raise InputError(
                f"handover={self.handover} must be between 1 and {self.frames - self.n1}, the frames of M after "
                f"n1={self.n1}"
            )
        if not 0 <= self.anchor <= self.handed:
            raise InputError(
                f"anchor={self.anchor} must be between 0 and {self.handed}, the number of frames common to M and D"
            )
        if self.mean_of not in MEANS:
            raise unknown("source of the mean", self.mean_of, MEANS)

    @property
    def handed(self) -> int:
        """Number of M's last frames with which D begins."""
        return self.n2 if self.handover is None else self.handover

    @property
    def layout(self) -> dict[str, int]:
        """The fields that determine the noise: the settings of `noise_stream("cono", ...)`."""
        return {"frames": self.frames, "n1": self.n1, "n2": self.n2, "handover": self.handed}

    @cached_property
    def clips(self) -> tuple[Clip, Clip, Clip]:
        """B, M and D, in the order in which they are regularised and replayed."""
        frames, n1, n2, handed = self.frames, self.n1, self.n2, self.handed
        right = self.release if self.right_release is None else self.right_release
        means = (SOURCE, "B", "M") if self.mean_of == "adjacent" else (FIRST,) * 3
        from_a = CopyFrom(range(n1), SOURCE, range(-n1, 0), self.release)
        from_b = CopyFrom(range(frames - n2, frames), "B", range(n1, n1 + n2), right)
        from_m = CopyFrom(range(handed), "M", range(frames - handed, frames), self.release)
        middle = range(n1, frames - handed + self.anchor)
        return (
            Clip("B", SOURCE, tuple(extend(frames, n1)), (from_a,), means[0], range(0)),
            Clip("M", "B", tuple(internal(frames, n1, n2)), (from_a, from_b), means[1], middle),
            Clip("D", "M", tuple(extend(frames, handed)), (from_m,), means[2], range(self.anchor, frames)),
        )

    @property
    def new_frames(self) -> int:
        """Latent frames that one extension adds: 2 N - n1 - n2 where D copies n2 frames of M."""
        return 2 * self.frames - self.n1 - self.handed

    def length(self, extensions: int) -> int:
        """Latent frames of a video with the first clip and `extensions` extensions."""
        return self.frames + at_least("extensions", extensions, 0) * self.new_frames

    def extensions_for(self, frames: int) -> int:
        """The least number of extensions that gives at least `frames` latent frames."""
        return max(0, -(-(frames - self.frames) // self.new_frames))

    def span(self, name: str, extension: int) -> range:
        """The latent frames of the video that a clip covers; B covers the same as M and is never emitted. Extensions
        count from 0."""
        if name not in CLIPS:
            raise unknown("clip of an extension", name, CLIPS)
        start = self.length(extension) - self.n1 + (self.frames - self.handed if name == "D" else 0)
        return range(start, start + self.frames)

    def place(self, frame: int) -> tuple[int, str, int]:
        """(extension, clip, slot) from which a latent frame of the video is emitted; the first clip is A of extension
        0."""
        if at_least("frame", frame, 0) < self.frames:
            return 0, SOURCE, frame
        extension, within = divmod(frame - self.frames, self.new_frames)
        middle = self.frames - self.n1 - self.handed  # of M, before D begins
        return (
            (extension, "M", self.n1 + within) if within < middle + self.anchor else (extension, "D", within - middle)
        )


def look_back(frames: int, steps: int, fraction: float = 0.8) -> LookBack:
    """The published schedule for clips of any length: 6 and 8 of 16 frames are copied, during 40 of 50 steps.

    Inferred: that these numbers scale with the clip, and that T_d = 10 counts DDIM steps from the end (it could be
    timestep 10 of 1000).
    """
    if frames < 3:
        raise InputError(
            f"frames={frames} are too few for a look-back, which copies frames on both sides; use clips of 3 or more"
        )
    if not 0 <= fraction <= 1:
        raise InputError(f"fraction={fraction} must be between 0 and 1: it is the part of the steps that copies frames")
    n1 = round(frames * 6 / 16)
    return LookBack(frames, n1, min(round(frames * 8 / 16), frames - n1 - 1), round(fraction * steps))


def replay(prediction: torch.Tensor, clip: Clip, outputs: Mapping[str, torch.Tensor], step: int) -> torch.Tensor:
    """The clip's prediction [b, c, f, h, w] with the copied slots replaced; the same object where no slot is copied any
    more.

    outputs: the solver's inputs at this step for the earlier clips, by name; of A the last n1 frames suffice. The
    predictions may be of any type (noise, velocity, sample), with guidance applied. The argument is not modified.
    """
    active = [copy for copy in clip.copies if step < copy.release]
    if not active:
        return prediction
    replayed = prediction.clone()
    for copy in active:
        source = outputs[copy.source]
        if source.shape[2] < len(copy.source_slots):
            raise InputError(
                f"clip {clip.name} copies {len(copy.source_slots)} frames of {copy.source}, whose output has "
                f"{source.shape[2]}; store at least as many"
            )
        replayed[:, :, copy.slots.start : copy.slots.stop] = source[:, :, list(copy.source_slots)]
    return replayed


def _check_count(name: str, value: int, most: int) -> None:
    if not 0 <= value <= most:
        raise InputError(f"{name}={value} must be between 0 and {most}, the number of frames")
