"""AnimateDiff: a Stable Diffusion UNet with motion modules, a per-frame VAE and CLIP text."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from videogen.attention.order import TokenGrid
from videogen.schedulers.solver import Solver

from .animatediff_spec import NATIVE_GUIDANCE, read_spec
from .codecs.framewise import FramewiseCodec
from .conditioning import Conditioning
from .specified import SpecifiedBackbone
from .streaming import StreamDecoder
from .unet_frames import per_frame_timesteps


class AnimateDiffBackbone(SpecifiedBackbone):
    """Over the components of `diffusers.AnimateDiffPipeline`."""

    family = "animatediff"
    native_guidance = NATIVE_GUIDANCE
    read_spec = staticmethod(read_spec)

    @property
    def dtype(self) -> torch.dtype:
        return self.pipeline.unet.dtype

    def denoisers(self) -> list[Any]:
        return [self.pipeline.unet]

    def temporal_blocks(self) -> list[nn.Module]:
        from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D

        motion = (m for m in self.pipeline.unet.modules() if isinstance(m, AnimateDiffTransformer3D))
        return [block for module in motion for block in module.transformer_blocks]

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
