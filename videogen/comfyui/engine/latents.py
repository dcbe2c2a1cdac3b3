"""Final latents of an engine's render as ComfyUI's LATENT: in the scale of the VAE, so that VAE Decode takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from videogen.backbones.codecs.codec import build_codec
from videogen.core.errors import InputError, UnsupportedError
from videogen.sampling.loop import LoopState
from videogen.sampling.step_plan import StepRow
from videogen.sampling.technique import Technique

from ..embedded.native_wan import EMBEDDED_MODEL

if TYPE_CHECKING:
    from videogen.backbones.base import Backbone

_CLIP_AXES = 5


class FinalLatents(Technique):
    """Stores the latents [b, c, f, h, w] after the last step, and changes nothing."""

    only_observes = True

    def __init__(self) -> None:
        self.latents: torch.Tensor | None = None

    def after_step(self, row: StepRow, state: LoopState) -> LoopState:
        self.latents = state.latents
        return state


def to_latent(latents: torch.Tensor, backbone: Backbone) -> dict[str, Any] | None:
    """LATENT [batch, channel, frame, height, width], or [frame, channel, height, width] for a VAE of images; None where
    the VAE's scale is not known. The embedded DiT's are in the scale of Wan's VAE, as Load Embedded VAE takes them."""
    if backbone.name == EMBEDDED_MODEL:
        from comfy.latent_formats import Wan21

        return {"samples": Wan21().process_out(latents.float().cpu())}
    try:
        codec = build_codec(backbone.pipeline, backbone.family)
    except UnsupportedError:
        return None
    samples = codec.denormalise(latents).float().cpu()
    if backbone.geometry.temporal == 1:
        samples = samples.transpose(1, 2).flatten(0, 1)
    return {"samples": samples.clone()}


def from_latent(latent: dict[str, Any], backbone: Backbone) -> torch.Tensor:
    """The denoiser's latents [b, c, f, h, w] of a LATENT, as `to_latent` gives them. InputError for images and sound,
    UnsupportedError where the VAE's scale is not known."""
    samples = latent["samples"]
    if getattr(samples, "is_nested", False) or samples.ndim != _CLIP_AXES or len(samples) != 1:
        raise InputError("latent is not that of one clip; connect the latent of Render or Extend")
    if backbone.name == EMBEDDED_MODEL:
        from comfy.latent_formats import Wan21

        found: torch.Tensor = Wan21().process_in(samples)
        return found.to(backbone.device)
    codec = build_codec(backbone.pipeline, backbone.family)
    return codec.normalise(samples.to(backbone.device, codec.vae.dtype)).float()
