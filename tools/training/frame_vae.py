"""The embedded UNet's per-frame `AutoencoderKL`: 8x space compression."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import nn

from videogen.backbones.loading import dtype_option

from .data import clips, psnr_db
from .formats import FORMATS, Format
from .saving import save_clean
from .vae import autoencoder_loss

CHANNELS = 12


def build() -> AutoencoderKL:
    widths = (16, 32, 64, 64)
    return AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=CHANNELS,
        norm_num_groups=8,
        sample_size=64,
        scaling_factor=1.0,
    )


class FrameVae:
    """Part `frame-vae`."""

    name = "frame-vae"
    learning_rate = 2e-3

    def __init__(
        self,
        device: str,
        form: Format = FORMATS["small"],
        init: Path | None = None,
        batch: int = 8,
        decoder_only: bool = False,
    ) -> None:
        self.device, self.form, self.batch, self.decoder_only = device, form, batch, decoder_only
        self.vae = AutoencoderKL.from_pretrained(init, **dtype_option(torch.float32)) if init else build()
        if decoder_only:  # the denoiser's latents stay valid; only the decoded frames get sharper
            self.learning_rate = 6e-4
            for module in (self.vae.encoder, self.vae.quant_conv):
                module.requires_grad_(False)

    def modules(self) -> dict[str, nn.Module]:
        return {"vae": self.vae}

    def loss(self, step: int, progress: float) -> tuple[torch.Tensor, dict[str, float]]:
        batch = clips([step * 64 + i for i in range(self.batch)], 1, self.form.size, device=self.device)
        posterior = self.vae.encode(batch.pixels[:, :, 0]).latent_dist
        result = self.vae.decode(posterior.sample()).sample.float().unsqueeze(2)
        loss = autoencoder_loss(result, batch, posterior.mean.float(), posterior.logvar.float())
        return loss, {"psnr_db": float(psnr_db(result.detach(), batch.pixels).mean())}

    def evaluate(self, ema: dict[str, nn.Module]) -> dict[str, float]:
        """PSNR on 8 clips of 16 frames that training never uses."""
        vae: Any = ema["vae"]
        batch = clips([-(i + 1) % 2**31 for i in range(8)], 16, self.form.size, stride=2, full=True, device=self.device)
        frames = batch.pixels.transpose(1, 2).flatten(0, 1)
        with torch.no_grad():
            result = vae.decode(vae.encode(frames).latent_dist.mode()).sample
        values = psnr_db(result.unflatten(0, (8, 16)), frames.unflatten(0, (8, 16)))
        return {"full_clip_psnr_db": float(values.mean()), "full_clip_psnr_min_db": float(values.min())}

    def save(self, ema: dict[str, nn.Module], folder: Path) -> None:
        vae: Any = ema["vae"]
        if self.decoder_only:
            return save_clean(vae, folder / "vae")
        batch = clips([2**30 + i for i in range(128)], 1, self.form.size, device=self.device)
        with torch.no_grad():
            latents = vae.encode(batch.pixels[:, :, 0]).latent_dist.mode()
        vae.register_to_config(scaling_factor=1 / float(latents.std()))
        save_clean(vae, folder / "vae")
