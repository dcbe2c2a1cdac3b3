"""Previews during a run: of the clean latents that a step's prediction implies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.contract.families import wan
from videogen import Engine, Technique


class Recorder(Technique):
    """What previews should show after each step: latents - sigma * prediction in a flow model, the latents at last."""

    def __init__(self) -> None:
        self.expected: list[torch.Tensor] = []

    def prediction(self, row: Any, state: Any, prediction: torch.Tensor) -> torch.Tensor:
        self.expected.append(state.latents - state.solver.levels[row.index].sigma * prediction)
        return prediction

    def after_step(self, row: Any, state: Any) -> Any:
        if state.index == len(state.solver.timesteps):
            self.expected[-1] = state.latents
        return state


def test_previews_show_the_clean_estimate_of_each_step(tmp_path: Path) -> None:
    wan(tmp_path)
    engine, recorder, previewed, reported = Engine.load(tmp_path, device="cpu"), Recorder(), [], []

    def preview(latents: torch.Tensor) -> np.ndarray:
        previewed.append(latents)
        return np.zeros((1, 4, 4, 3), np.uint8)

    preview_of: Any = preview
    engine._preview = preview_of
    video = engine.generate(
        "a ball", frames=5, size=(32, 32), steps=4, seed=1, techniques=[recorder], preview_every=1,
        progress=lambda progress: reported.append(progress.preview is not None),
    )  # fmt: skip
    assert len(previewed) == len(recorder.expected) == sum(reported) == 4
    for latents, expected in zip(previewed, recorder.expected, strict=True):
        torch.testing.assert_close(latents, expected)
    assert video.manifest is not None and len(video.manifest["measured"]["techniques"]) == 1, (
        "observing is no technique"
    )
    again = engine.generate("a ball", frames=5, size=(32, 32), steps=4, seed=1)
    assert np.array_equal(again.frames, video.frames)
