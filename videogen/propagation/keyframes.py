"""Which frames the key steps of one model compute: in turn, and those that have changed too much; see `frames`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from videogen.core.errors import UnsupportedError
from videogen.schedulers.levels import NoiseLevel

from .frames import choose_frames, make_lattice
from .supervision import clean_latents


class KeyFrames:
    """The lattice of one model, the turn it is in, and the clean latents that were last predicted, for each branch."""

    def __init__(self, model: Any, every: int, gate: float) -> None:
        self._model, self._every, self._gate = model, every, gate
        self.lattice = make_lattice(model)
        self._turn: dict[str, int] = {}
        self._clean: dict[str, torch.Tensor] = {}
        self.computed: list[tuple[int, int]] = []  # (frames computed, frames) of each key call

    @contextmanager
    def on(self, branch: str, latents: torch.Tensor) -> Iterator[None]:
        """A key call of this branch: the first computes all frames, later ones those whose turn it is."""
        frames = latents.shape[self._axis(latents)]
        turn = self._turn.get(branch, 0)
        first = turn == 0 or not self.lattice.ready(branch)
        chosen = (
            tuple(range(frames))
            if first
            else choose_frames(self._every, turn, frames, self._clean.get(branch), self._gate)
        )
        self._turn[branch] = turn + 1
        self.computed.append((len(chosen), frames))
        with self.lattice.on(chosen, frames, branch):
            yield

    def note(
        self, branch: str, latents: torch.Tensor, prediction: torch.Tensor, level: NoiseLevel | None, kind: str
    ) -> None:
        """What the model gave for these latents: the next choice is gated on it."""
        if level is not None and latents.shape == prediction.shape:
            clean = clean_latents(latents.float(), prediction.float(), level, kind)
            self._clean[branch] = clean.movedim(self._axis(latents), 2)

    def _axis(self, latents: torch.Tensor) -> int:
        """Of frames in the model's latents: [b, c, f, h, w], or [b, f, c, h, w] where the channels say so.
        UnsupportedError."""
        if latents.ndim != 5:
            name = type(self._model).__name__
            raise UnsupportedError(
                f"{name} takes latents {list(latents.shape)}, which have no axis of frames; use frames=1"
            )
        channels = getattr(getattr(self._model, "config", None), "in_channels", None)
        return 1 if latents.shape[2] == channels and latents.shape[1] != channels else 2

    def forget(self, branch: str | None = None) -> None:
        self.lattice.forget(branch)
        for kept in (self._turn, self._clean):
            kept.clear() if branch is None else kept.pop(branch, None)
        if branch is None:
            self.computed.clear()

    def close(self) -> None:
        self.lattice.close()
