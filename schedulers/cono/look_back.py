"""CoNo: how a clip is extended by three more that share its noise, and which frames copy whose prediction (2406.05082).

The paper's "look-back", rebuilt from its text and figures, for no code was published. A clip A that stands is extended
by

    B   extending: begins with A's last n1 frames; nothing of it is kept
    M   internal: between A's last n1 frames and n2 frames of B, so the join is held from both sides; its middle is kept
    D   extending: begins with M's last frames; all of it is kept, and it is the next extension's A

Each starts from a permutation of one noise. Until `release`, guided frames take the prediction of the frames they copy:
with the same noise that makes their latents equal bit for bit, with any solver and any kind of prediction. In each
step: predict B, M and D (one batch), `MeanRegularisation` each in this order, then `replay` each in this order, then step the
solver.

Published: the permutations, who guides whom, what is kept. Inferred, so options: how many of M's frames guide D
(`handover`; the figure's colours say n2), whether B's hold on M ends with the others (`right_release`), whose mean the
pull reads (`mean_of`), and what the published release "T_d = 10" counts (`look_back`). What pulling a clip is: `pull`.
Legend: [b, c, f, h, w]. Slots count a clip's frames from 0. Importing this loads no torch.
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
FIRST = "first"  # as the source of a pull: the video's first clip
MEANS = ("adjacent", FIRST)


def extend(n_frames: int, n1: int) -> list[int]:
    """Whose noise each frame of an extending clip takes: the last n1 frames' in order, then the others' backwards."""
    _count("n1", n1, n_frames)
    return [*range(n_frames - n1, n_frames), *range(n_frames - n1 - 1, -1, -1)]


def internal(n_frames: int, n1: int, n2: int) -> list[int]:
    """Whose noise each frame of an internal clip takes: the first n1 stay, the n2 after them go to the end."""
    _count("n1", n1, n_frames)
    _count("n2", n2, n_frames - n1)
    return [*range(n1), *range(n1 + n2, n_frames), *range(n1, n1 + n2)]


@dataclass(frozen=True)
class Guide:
    """Slots that take the prediction of another clip's slots in the steps before `release`.

    A's slots are negative, counted from its end, so that its last n1 frames are all that must be remembered of it.
    """

    slots: range
    source: str
    source_slots: range
    release: int


@dataclass(frozen=True)
class Clip:
    """One of the three. order: the slot of `noise_source` whose noise each slot takes; pull_source: whose mean it is
    pulled to; emitted: the slots that go into the video."""

    name: str
    noise_source: str
    order: tuple[int, ...]
    guides: tuple[Guide, ...]
    pull_source: str
    emitted: range

    @cached_property
    def guided(self) -> frozenset[int]:
        """Slots that copy, so that take their source's noise unchanged."""
        return frozenset(slot for guide in self.guides for slot in guide.slots)


@dataclass(frozen=True)
class LookBack:
    """The schedule of an extension. InputError for numbers that do not fit.

    frames: of each clip; n1, n2: frames guided from the left and from the right. release: steps, from the first on, in
    which guided frames copy. right_release: the same for B's hold on M, None: `release`. handover: M's last frames that
    guide D, None: n2; M is kept up to there. mean_of: `adjacent`, each clip is pulled to the one before it, or `first`,
    to the video's first clip. anchor: of the frames that M and D share, how many are M's in the video: 1 where a clip's
    first latent is a picture.
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
                f"n1={self.n1} and n2={self.n2} guide all of frames={self.frames} and leave none to join them; "
                f"let n1 + n2 be at most {self.frames - 1}, or use longer clips"
            )
        if self.handover is not None and not 1 <= self.handover <= self.frames - self.n1:
            raise InputError(
                f"handover={self.handover} must be between 1 and {self.frames - self.n1}, what n1={self.n1} leaves of M"
            )
        if not 0 <= self.anchor <= self.handed:
            raise InputError(f"anchor={self.anchor} must be between 0 and {self.handed}, the frames that M and D share")
        if self.mean_of not in MEANS:
            raise unknown("mean to pull to", self.mean_of, MEANS)

    @property
    def handed(self) -> int:
        """Frames of M that D begins with."""
        return self.n2 if self.handover is None else self.handover

    @property
    def layout(self) -> dict[str, int]:
        """What the noise depends on: the settings of `noise_stream("cono", ...)`."""
        return {"frames": self.frames, "n1": self.n1, "n2": self.n2, "handover": self.handed}

    @cached_property
    def clips(self) -> tuple[Clip, Clip, Clip]:
        """B, M and D, in the order in which they are pulled and replayed."""
        frames, n1, n2, handed = self.frames, self.n1, self.n2, self.handed
        right = self.release if self.right_release is None else self.right_release
        pulls = (SOURCE, "B", "M") if self.mean_of == "adjacent" else (FIRST,) * 3
        left = Guide(range(n1), SOURCE, range(-n1, 0), self.release)
        held = Guide(range(frames - n2, frames), "B", range(n1, n1 + n2), right)
        begun = Guide(range(handed), "M", range(frames - handed, frames), self.release)
        return (
            Clip("B", SOURCE, tuple(extend(frames, n1)), (left,), pulls[0], range(0)),
            Clip(
                "M",
                "B",
                tuple(internal(frames, n1, n2)),
                (left, held),
                pulls[1],
                range(n1, frames - handed + self.anchor),
            ),
            Clip("D", "M", tuple(extend(frames, handed)), (begun,), pulls[2], range(self.anchor, frames)),
        )

    @property
    def new_frames(self) -> int:
        """Latent frames that one extension adds: 2 N - n1 - n2 where D begins with n2 of M's."""
        return 2 * self.frames - self.n1 - self.handed

    def length(self, extensions: int) -> int:
        """Latent frames of a video of the first clip and so many extensions."""
        return self.frames + at_least("extensions", extensions, 0) * self.new_frames

    def extensions_for(self, frames: int) -> int:
        """The fewest extensions that give so many latent frames."""
        return max(0, -(-(frames - self.frames) // self.new_frames))

    def span(self, name: str, extension: int) -> range:
        """The video's latent frames over which a clip lies; B lies where M does and is never shown. Extensions count
        from 0."""
        if name not in CLIPS:
            raise unknown("clip of an extension", name, CLIPS)
        start = self.length(extension) - self.n1 + (self.frames - self.handed if name == "D" else 0)
        return range(start, start + self.frames)

    def place(self, frame: int) -> tuple[int, str, int]:
        """(extension, clip, slot) that shows a latent frame of the video; the first clip is A of extension 0."""
        if at_least("frame", frame, 0) < self.frames:
            return 0, SOURCE, frame
        extension, within = divmod(frame - self.frames, self.new_frames)
        middle = self.frames - self.n1 - self.handed  # of M, before D begins
        return (
            (extension, "M", self.n1 + within) if within < middle + self.anchor else (extension, "D", within - middle)
        )


def look_back(frames: int, steps: int, share: float = 0.8) -> LookBack:
    """The published shares for clips of any length: 6 and 8 of 16 frames guided, copied for 40 of 50 steps.

    Inferred: that they scale with the clip, and that T_d = 10 counts DDIM steps from the end (it could be timestep 10
    of 1000).
    """
    if frames < 3:
        raise InputError(
            f"frames={frames} are too few for a look-back, which guides a clip from both sides; use clips of 3 or more"
        )
    if not 0 <= share <= 1:
        raise InputError(f"share={share} must be between 0 and 1, of the steps in which guided frames copy")
    n1 = round(frames * 6 / 16)
    return LookBack(frames, n1, min(round(frames * 8 / 16), frames - n1 - 1), round(share * steps))


def replay(prediction: torch.Tensor, clip: Clip, outputs: Mapping[str, torch.Tensor], step: int) -> torch.Tensor:
    """The clip's prediction [b, c, f, h, w] with the guided slots' replaced; itself where nothing copies any more.

    outputs: what the solver got at this step for the clips before it, by name; of A its last n1 frames are enough.
    Predictions of any kind (noise, velocity, sample), guidance applied. The argument is left as it was.
    """
    active = [guide for guide in clip.guides if step < guide.release]
    if not active:
        return prediction
    replayed = prediction.clone()
    for guide in active:
        source = outputs[guide.source]
        if source.shape[2] < len(guide.source_slots):
            raise InputError(
                f"clip {clip.name} copies {len(guide.source_slots)} frames of {guide.source}, whose output has {source.shape[2]}; "
                "keep at least these"
            )
        replayed[:, :, guide.slots.start : guide.slots.stop] = source[:, :, list(guide.source_slots)]
    return replayed


def _count(name: str, value: int, most: int) -> None:
    if not 0 <= value <= most:
        raise InputError(f"{name}={value} must be between 0 and {most}, the frames there are")
