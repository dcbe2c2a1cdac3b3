"""The embedded DiT's video VAE: `AutoencoderKLWan` with 2.2's residual blocks, 8x space and 4x time compression.

Single frames first, then clips of 9, 17 and all frames: the causal decoder drifts beyond the longest length that it
was trained on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import patchify, unpatchify
from torch import nn

from videogen.backbones.loading import dtype_option

from .data import Batch, clips, psnr_db
from .formats import FORMATS, Format
from .saving import save_clean

CHANNELS = 16


def build(base: int = 16, wide: int = 4) -> AutoencoderKLWan:
    return AutoencoderKLWan(
        base_dim=base,
        z_dim=CHANNELS,
        dim_mult=[1, wide, wide],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=8,
        scale_factor_temporal=4,
        latents_mean=[0.0] * CHANNELS,
        latents_std=[1.0] * CHANNELS,
    )


def encode(vae: AutoencoderKLWan, pixels: torch.Tensor) -> torch.Tensor:
    """Posterior parameters [b, 2c, f, h, w]. As `vae.encode`, but with two calls per clip, not one per latent frame."""
    vae.clear_cache()
    patches, cache = patchify(pixels, vae.config.patch_size), vae._enc_feat_map
    parts = [vae.encoder(patches[:, :, :1], feat_cache=cache, feat_idx=[0])]
    if patches.shape[2] > 1:
        parts.append(vae.encoder(patches[:, :, 1:], feat_cache=cache, feat_idx=[0]))
    vae.clear_cache()
    return vae.quant_conv(torch.cat(parts, 2))


def decode(vae: AutoencoderKLWan, latents: torch.Tensor) -> torch.Tensor:
    """Pixels [b, 3, f, h, w]. As `vae.decode` without the clamp, in two calls."""
    vae.clear_cache()
    hidden, cache = vae.post_quant_conv(latents), vae._feat_map
    parts = [vae.decoder(hidden[:, :, :1], feat_cache=cache, feat_idx=[0], first_chunk=True)]
    if hidden.shape[2] > 1:
        parts.append(vae.decoder(hidden[:, :, 1:], feat_cache=cache, feat_idx=[0]))
    vae.clear_cache()
    return unpatchify(torch.cat(parts, 2), vae.config.patch_size)


def autoencoder_loss(
    result: torch.Tensor, batch: Batch, mean: torch.Tensor, log_variance: torch.Tensor
) -> torch.Tensor:
    """Weighted L1 + L2 (objects count four times) and a light KL term that keeps latents smooth and bounded."""
    weight = 1 + 3 * F.max_pool2d(batch.weight.flatten(0, 2)[:, None], 3, 1, 1).view_as(batch.weight)
    error = result - batch.pixels
    reconstruction = (weight * (0.25 * error.abs() + 8 * error.square())).mean()
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    return reconstruction + 2e-5 * kl


class VideoVae:
    """Part `vae`."""

    name = "vae"
    learning_rate = 2e-3

    def __init__(
        self,
        device: str,
        form: Format = FORMATS["small"],
        init: Path | None = None,
        batch: int = 2,
        decoder_only: bool = False,
    ) -> None:
        self.device, self.form, self.batch, self.decoder_only = device, form, batch, decoder_only
        self.vae = AutoencoderKLWan.from_pretrained(init, **dtype_option(torch.float32)) if init else build()
        self.fresh = init is None
        if init:
            self.learning_rate = 6e-4
        if decoder_only:  # the denoiser's latents stay valid; only the decoded frames get sharper
            for module in (self.vae.encoder, self.vae.quant_conv):
                module.requires_grad_(False)

    def modules(self) -> dict[str, nn.Module]:
        return {"vae": self.vae}

    def loss(self, step: int, progress: float) -> tuple[torch.Tensor, dict[str, float]]:
        frames, count = self._stage(step, progress)
        seeds = [step * 64 + i for i in range(count)]
        batch = clips(seeds, frames, self.form.size, stride=self.form.stride, device=self.device)
        with torch.set_grad_enabled(not self.decoder_only):
            mean, log_variance = encode(self.vae, batch.pixels).float().chunk(2, 1)
        log_variance = log_variance.clamp(-20, 5)
        latents = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        result = decode(self.vae, latents).float()
        loss = autoencoder_loss(result, batch, mean, log_variance)
        return loss, {"psnr_db": float(psnr_db(result.detach(), batch.pixels).mean()), "frames": frames}

    def _stage(self, step: int, progress: float) -> tuple[int, int]:
        """(frames, clips per batch) at this step: a fresh model grows to the full length, a trained one stays close to
        it."""
        full = self.form.frames, max(1, self.batch // 2)
        if self.decoder_only:
            return full
        if not self.fresh:
            return full if step % 2 else (9, self.batch)
        if progress < 0.1:
            return 1, 4 * self.batch
        if progress < 0.7:
            return 9, self.batch
        return (17, self.batch) if progress < 0.85 else full

    def _full_clips(self, seeds: list[int]) -> Batch:
        form = self.form
        return clips(seeds, form.frames, form.size, stride=form.stride, full=True, device=self.device)

    def evaluate(self, ema: dict[str, nn.Module]) -> dict[str, float]:
        """PSNR on 8 full-length clips that training never uses, through the model's own encode and decode."""
        vae: Any = ema["vae"]
        batch = self._full_clips([-(i + 1) % 2**31 for i in range(8)])
        with torch.no_grad():
            latents = vae.encode(batch.pixels).latent_dist.mode()
            values = psnr_db(vae.decode(latents).sample, batch.pixels)
        return {"full_clip_psnr_db": float(values.mean()), "full_clip_psnr_min_db": float(values.min())}

    def save(self, ema: dict[str, nn.Module], folder: Path) -> None:
        vae: Any = ema["vae"]
        if self.decoder_only:
            return save_clean(vae, folder / "vae")
        batch = self._full_clips([2**30 + i for i in range(24)])
        with torch.no_grad():
            latents = torch.cat([vae.encode(p[None]).latent_dist.mode() for p in batch.pixels])
        vae.register_to_config(
            latents_mean=latents.mean((0, 2, 3, 4)).tolist(), latents_std=latents.std((0, 2, 3, 4)).tolist()
        )
        save_clean(vae, folder / "vae")
