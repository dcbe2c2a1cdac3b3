"""Methods by which a clip is extended: which clips an extension samples, what they copy, and their noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch

from videogen.core.errors import InputError, unknown
from videogen.request.continuity_policies import POLICIES
from videogen.schedulers import LookBack, look_back, permuted_noise
from videogen.schedulers.cono.look_back import SOURCE, Clip, CopyFrom

REPLAY, LOOK_BACK = "replay", "look-back"
METHODS = (REPLAY, LOOK_BACK)
_SINGLE = 1  # the first latent of a clip is one image
_LEAST = 3  # latent frames of a clip


@dataclass(frozen=True)
class TiedPlan:
    """Extensions of clips of `frames` latent frames, by one of `METHODS`.

    replay: the next clip begins with the last frames of the one before, and continues with the run's own noise.
    look-back: three clips that reuse the noise of the one before in another order (CoNo, 2406.05082). release: steps,
    from the first on, in which frames copy. overlap: how many last frames an extension copies; 0: the method's default.
    InputError for values that do not fit.
    """

    method: str
    frames: int
    release: int
    overlap: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise unknown("method", self.method, METHODS)
        if self.frames < _LEAST:
            raise InputError(f"clip_length is {self.frames} latent frames; it needs {_LEAST} or more")
        if not 0 <= self.overlap <= self.frames - 2:
            raise InputError(
                f"overlap is {self.overlap} of a clip's {self.frames} latent frames; use at most {self.frames - 2}"
            )

    @cached_property
    def copied(self) -> int:
        """Of how many last frames an extension copies the predictions."""
        if self.method == LOOK_BACK or self.overlap:
            return self.overlap or self._look_back.n1
        fraction = POLICIES[REPLAY].overlap
        assert fraction is not None
        return max(1, round(fraction * self.frames))

    @cached_property
    def clips(self) -> tuple[Clip, ...]:
        """The clips of an extension, in the order in which they copy. The last one is the source of the next."""
        if self.method == LOOK_BACK:
            return self._look_back.clips
        copies = CopyFrom(range(self.copied), SOURCE, range(-self.copied, 0), self.release)
        emitted = range(self.copied, self.frames)
        return (Clip("D", SOURCE, tuple(range(self.frames)), (copies,), SOURCE, emitted),)

    @cached_property
    def new_frames(self) -> int:
        """Latent frames that an extension adds."""
        return sum(len(clip.emitted) for clip in self.clips)

    def extensions_for(self, frames: int) -> int:
        """The least number of extensions that add so many frames."""
        return max(0, -(-frames // self.new_frames))

    def noise(self, before: torch.Tensor, fresh: torch.Tensor) -> torch.Tensor:
        """The noise of an extension's clips [clips, c, f, h, w]. before: of the clip that is extended; fresh: the
        run's, where the extension lies, from the first copied frame on."""
        if self.method == LOOK_BACK:
            return torch.cat(list(permuted_noise(before, self._look_back).values()))
        return torch.cat([before[:, :, -self.copied :], fresh[:, :, self.copied :]], dim=2)

    @cached_property
    def _look_back(self) -> LookBack:
        plan = look_back(self.frames, 1)
        n1 = self.overlap or plan.n1
        return replace(plan, n1=n1, n2=min(plan.n2, self.frames - n1 - 1), release=self.release, anchor=_SINGLE)
