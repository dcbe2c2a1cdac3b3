"""Warped noise for ComfyUI's samplers: a NOISE whose draw follows a motion, over another NOISE as its unwarped part."""

from __future__ import annotations

from typing import Any

import torch

from videogen.core.errors import InputError
from videogen.core.randomness import address
from videogen.motion import Motion
from videogen.schedulers import GivenNoise, warped_noise

from ..motion.compiling import compile_motions

_STREAM = "warped noise"  # independent of the plain part, which is drawn from the seed itself


class WarpedHostNoise:
    """ComfyUI's NOISE. plain: the host's, whose seed and draw are used; spatial, temporal: px and frames per latent."""

    def __init__(self, plain: Any, motion: Motion, strength: float, spatial: int, temporal: int) -> None:
        self.seed = plain.seed
        self._plain, self._motion, self._strength = plain, motion, strength
        self._spatial, self._temporal = spatial, temporal

    def generate_noise(self, input_latent: dict[str, Any]) -> Any:
        """Noise of a LATENT's shape; of several modalities, the video's alone is warped."""
        drawn = self._plain.generate_noise(input_latent)
        if self._strength == 0:
            return drawn
        if getattr(drawn, "is_nested", False):
            video, *rest = drawn.unbind()
            return type(drawn)([self._warp(video, input_latent), *rest])
        return self._warp(drawn, input_latent)

    def _warp(self, drawn: torch.Tensor, input_latent: dict[str, Any]) -> torch.Tensor:
        if drawn.ndim != 5:
            raise InputError(
                f"latents {list(drawn.shape)} are no video; warped noise needs [batch, channel, frame, h, w]"
            )
        _, channels, frames, height, width = drawn.shape
        pixels = (frames - 1) * self._temporal + 1
        plan = compile_motions(self._motion, pixels, height * self._spatial, width * self._spatial)
        numbers = input_latent.get("batch_index") or range(drawn.shape[0])
        clips = [
            warped_noise(
                plan, channels, self._spatial, self._temporal, address(self.seed, _STREAM, int(number)),
                strength=self._strength, plain=GivenNoise(clip.unsqueeze(0).float()),
            )
            for number, clip in zip(numbers, drawn, strict=True)
        ]  # fmt: skip
        return torch.cat(clips).to(drawn.dtype)


def check_windows(model: Any) -> None:
    """InputError for a MODEL with context windows whose FreeNoise replaces the noise that it is given."""
    handler = model.model_options.get("context_handler")
    if getattr(handler, "freenoise", False):
        raise InputError(
            "freenoise of the model's context windows replaces the noise after the first window, so that it does not "
            "follow the motion; set freenoise to false at the context windows"
        )
