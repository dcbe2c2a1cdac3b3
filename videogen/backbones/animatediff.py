"""AnimateDiff: a Stable Diffusion UNet with motion modules, a per-frame VAE and CLIP text."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from videogen.attention.order import TokenGrid
from videogen.schedulers.solver import Solver

from .base import Backbone
from .codecs.framewise import FramewiseCodec
from .conditioning import Conditioning
from .defaults import Capabilities
from .geometry import LatentGeometry
from .streaming import StreamDecoder
from .unet_frames import per_frame_timesteps


class AnimateDiffBackbone(Backbone):
    """Over the components of `diffusers.AnimateDiffPipeline`."""

    family = "animatediff"
    native_guidance = "batched"

    def family_defaults(self) -> dict[str, Any]:
        side = (self.pipeline.unet.config.sample_size or 64) * self.pipeline.vae_scale_factor
        return {"frames": 16, "width": side, "height": side, "fps": 8, "steps": 25, "guidance_scale": 7.5}

    @property
    def capabilities(self) -> Capabilities:
        distilled = self.pipeline.unet.config.time_cond_proj_dim is not None
        return Capabilities(per_frame_timesteps=not distilled)

    @property
    def geometry(self) -> LatentGeometry:
        spatial = self.pipeline.vae_scale_factor  # any whole number of latents: the UNet upsamples to its skips' size
        return LatentGeometry(self.pipeline.unet.config.in_channels, spatial, 1, spatial, single_first=False)

    @property
    def dtype(self) -> torch.dtype:
        return self.pipeline.unet.dtype

    def denoisers(self) -> list[Any]:
        return [self.pipeline.unet]

    def temporal_blocks(self) -> list[nn.Module]:
        from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D

        motion = (m for m in self.pipeline.unet.modules() if isinstance(m, AnimateDiffTransformer3D))
        return [block for module in motion for block in module.transformer_blocks]

    @property
    def temporal_positions(self) -> int | None:
        return int(self.pipeline.unet.config.motion_max_seq_length)

    def token_grid(self, latents_shape: Sequence[int]) -> TokenGrid:
        return TokenGrid(latents_shape[2], latents_shape[3], latents_shape[4])

    def encode_prompt(self, prompts: Sequence[str], negatives: Sequence[str] | None) -> Conditioning:
        positive, negative = self.pipeline.encode_prompt(
            list(prompts), self.device, 1, negatives is not None, None if negatives is None else list(negatives)
        )
        return Conditioning(positive, negative)

    def start(self, noise: torch.Tensor, solver: Solver) -> torch.Tensor:
        return noise.to(self.device, self.dtype) * solver.initial_scale

    def predict(
        self, latents: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor, expert: int = 0
    ) -> torch.Tensor:
        own = self.frame_timesteps(latents, timestep)
        per_frame = text.repeat_interleave(latents.shape[2], dim=0)
        unet = self.pipeline.unet
        with nullcontext() if own is None else per_frame_timesteps(unet, own):
            noisiest = timestep if own is None else own.amax()
            return unet(latents, noisiest, encoder_hidden_states=per_frame, return_dict=False)[0]

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return FramewiseCodec(self.pipeline).decode(latents)

    def stream_decoder(self, length: int | None = None) -> StreamDecoder:
        return FramewiseCodec(self.pipeline).stream(length)

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        return FramewiseCodec(self.pipeline).encode(frames)
