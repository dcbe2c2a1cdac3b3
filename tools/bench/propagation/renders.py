"""Renders under propagation with their final latents, and how far these are from the plain render's."""

from __future__ import annotations

from typing import Any

import torch

from videogen import Engine
from videogen.sampling.technique import Technique

STEPS = 50


class LastLatents(Technique):
    """Records the latents after each step."""

    latents: torch.Tensor

    def after_step(self, row: Any, state: Any) -> Any:
        self.latents = state.latents
        return state


def render(engine: Engine, prompt: str, seed: int, **options: Any) -> tuple[Any, torch.Tensor, float]:
    """(video, final latents, seconds of denoising). options: of `Engine.generate`, and `technique`, one more of
    them."""
    recorder = LastLatents()
    techniques = [recorder, *([options.pop("technique")] if "technique" in options else [])]
    video = engine.generate(prompt, seed=seed, techniques=techniques, **({"steps": STEPS} | options))
    assert video.manifest is not None
    return video, recorder.latents, video.manifest["timings_s"]["denoise"]


def relative_error(latents: torch.Tensor, plain: torch.Tensor) -> float:
    """Relative L2 distance."""
    return float((latents - plain).norm() / plain.norm())
