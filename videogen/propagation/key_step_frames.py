"""Frames that the key steps of one model compute: each in turn, and those that differ too much (see `frame_choice`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from videogen.core.errors import UnsupportedError
from videogen.schedulers.levels import NoiseLevel
from videogen.schedulers.parametrization import clean_latents

from .frame_choice import build_frame_subset, choose_frames


class KeyStepFrames:
    """The frame subset of one model, and per branch the number of key steps and the last predicted clean latents."""

    def __init__(self, model: nn.Module, every: int, gate: float) -> None:
        self._model, self._every, self._gate = model, every, gate
        self.subset = build_frame_subset(model)
        self._turn: dict[str, int] = {}
        self._clean: dict[str, torch.Tensor] = {}
        self.computed: list[tuple[int, int]] = []  # (frames computed, frames) of each key call

    @contextmanager
    def select(self, branch: str, latents: torch.Tensor) -> Iterator[None]:
        """Select the frames of a key step of this branch: the first computes all, later ones those whose turn it is."""
        frames = latents.shape[self._frame_axis(latents)]
        turn = self._turn.get(branch, 0)
        if turn == 0 or not self.subset.ready(branch):
            chosen = tuple(range(frames))
        else:
            chosen = choose_frames(self._every, turn, frames, self._clean.get(branch), self._gate)
        self._turn[branch] = turn + 1
        self.computed.append((len(chosen), frames))
        with self.subset.select(chosen, frames, branch):
            yield

    def note(
        self, branch: str, latents: torch.Tensor, prediction: torch.Tensor, level: NoiseLevel | None, kind: str
    ) -> None:
        """Store the clean latents that the model's prediction implies, for the next choice of frames."""
        if level is not None and latents.shape == prediction.shape:
            clean = clean_latents(latents.float(), prediction.float(), level, kind)
            self._clean[branch] = clean.movedim(self._frame_axis(latents), 2)

    def _frame_axis(self, latents: torch.Tensor) -> int:
        """The axis of frames in latents [b, c, f, h, w], or [b, f, c, h, w] if axis 2 has the model's channels.

        UnsupportedError if there is none.
        """
        if latents.ndim != 5:
            name = type(self._model).__name__
            raise UnsupportedError(
                f"{name} takes latents {list(latents.shape)} without an axis of frames; use frames=1"
            )
        channels = getattr(getattr(self._model, "config", None), "in_channels", None)
        return 1 if latents.shape[2] == channels and latents.shape[1] != channels else 2

    def forget(self, branch: str | None = None) -> None:
        self.subset.forget(branch)
        for stored in (self._turn, self._clean):
            stored.clear() if branch is None else stored.pop(branch, None)
        if branch is None:
            self.computed.clear()

    def close(self) -> None:
        self.subset.close()
