"""The embedded DiT: `WanTransformer3DModel` with its own UMT5 text encoder, flow matching, on the trained VAE's latents.

Single images first (large batches), then clips of 9, 17 and all frames.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel
from torch import nn

from .data import clips
from .formats import FORMATS, Format
from .pool import LatentPool
from .saving import save_clean
from .text import LENGTH, WIDTH, build_t5, build_tokenizer
from .vae import encode

SHIFT = 3.0


def build(channels: int, form: Format = FORMATS["small"]) -> WanTransformer3DModel:
    return WanTransformer3DModel(
        patch_size=(1, form.patch, form.patch),
        num_attention_heads=form.heads,
        attention_head_dim=64,
        in_channels=channels,
        out_channels=channels,
        text_dim=WIDTH,
        freq_dim=64,
        ffn_dim=160 * form.heads,
        num_layers=form.layers,
        rope_max_seq_len=256,
    )


class VideoDit:
    """Part `dit`."""

    name = "dit"
    learning_rate = 1e-3

    def __init__(
        self, device: str, vae: Path, form: Format = FORMATS["small"], init: Path | None = None, batch: int = 16
    ) -> None:
        self.device, self.form, self.batch, self.fresh = device, form, batch, init is None
        self.vae = AutoencoderKLWan.from_pretrained(vae, torch_dtype=torch.float32).to(device).eval()
        self.tokenizer = build_tokenizer()
        if init:
            self.transformer = WanTransformer3DModel.from_pretrained(init / "transformer", torch_dtype=torch.float32)
            self.text_encoder = type(build_t5(self.tokenizer)).from_pretrained(init / "text_encoder", dtype=torch.float32)
        else:
            self.transformer, self.text_encoder = build(self.vae.config.z_dim, form), build_t5(self.tokenizer)
        self.mean = torch.tensor(self.vae.config.latents_mean).view(-1, 1, 1, 1)
        self.std = torch.tensor(self.vae.config.latents_std).view(-1, 1, 1, 1)
        self.images = LatentPool(lambda seeds: self._latents(seeds, 1), 0, 20_000)
        self.clips = LatentPool(lambda seeds: self._latents(seeds, form.frames), 1_000_000, 12_000)

    def modules(self) -> dict[str, nn.Module]:
        return {"transformer": self.transformer, "text_encoder": self.text_encoder}

    def _latents(self, seeds: list[int], frames: int) -> torch.Tensor:
        """Normalised latents, as the pipeline's denoiser sees them."""
        pixels = clips(seeds, frames, self.form.size, stride=self.form.stride, whole=True, device=self.device).pixels
        with torch.no_grad():
            latents = encode(self.vae, pixels).chunk(2, 1)[0].cpu()
        return (latents - self.mean) / self.std

    def loss(self, step: int, progress: float) -> tuple[torch.Tensor, dict[str, float]]:
        slots, count = self._stage(step, progress)
        rng = np.random.default_rng((step, 77))
        pool = self.images if slots == 1 else self.clips
        if not len(pool):
            pool.skip(step * count)
        pool.grow(count if len(pool) < 6 * count else (count // 8 if slots == 1 else 8 if len(pool) < 3000 else 2))
        latents, captions = pool.draw(count, rng)
        return self._flow_loss(latents[:, :, :slots].to(self.device), captions, rng), {"slots": slots, "pool": len(pool)}

    def _flow_loss(self, x0: torch.Tensor, captions: list[str], rng: np.random.Generator) -> torch.Tensor:
        uniform = torch.from_numpy((rng.permutation(len(x0)) + rng.random(len(x0))) / len(x0)).float().to(self.device)
        sigma = (SHIFT * uniform / (1 + (SHIFT - 1) * uniform)).clamp(1e-3, 1)
        noise = torch.randn_like(x0)
        s = sigma.view(-1, 1, 1, 1, 1)
        prediction = self.transformer(
            (1 - s) * x0 + s * noise, sigma * 1000, self.encode_text(captions), return_dict=False
        )[0]
        return (prediction.float() - (noise - x0)).square().mean()

    def encode_text(self, captions: list[str]) -> torch.Tensor:
        """Embeddings [b, length, width], zero past the words, as WanPipeline makes them."""
        tokens = self.tokenizer(captions, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
        tokens = tokens.to(self.device)
        hidden = self.text_encoder(tokens.input_ids, tokens.attention_mask).last_hidden_state
        return hidden * tokens.attention_mask.unsqueeze(-1)

    def _stage(self, step: int, progress: float) -> tuple[int, int]:
        """(latent frames, samples a batch): a fresh model sees single images first, then all lengths in turn; a trained one
        mostly whole clips."""
        if self.fresh and progress < 0.25:
            return 1, 8 * self.batch
        full = self.form.slots
        slots = ((full, 3, full, 1, full, 5) if self.fresh else (full, full, 5, full, full, 1))[step % 6]
        return slots, {1: 8, 3: 3, 5: 2, full: 1}[slots] * self.batch

    def evaluate(self, ema: dict[str, nn.Module]) -> dict[str, float]:
        """Flow loss on unseen scenes and fixed noise."""
        transformer, text_encoder = self.transformer, self.text_encoder
        self.transformer, self.text_encoder = ema["transformer"], ema["text_encoder"]
        latents = self._latents([2**31 + i for i in range(8)], self.form.frames).to(self.device)
        captions = [self.clips._caption(2**31 + i, np.random.default_rng(1)) for i in range(8)]
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(1)
            loss = self._flow_loss(latents, captions, np.random.default_rng(1))
        self.transformer, self.text_encoder = transformer, text_encoder
        return {"held_out_loss": float(loss)}

    def save(self, ema: dict[str, nn.Module], folder: Path) -> None:
        """A whole pipeline folder in fp16, as the package carries it."""
        scheduler = UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=SHIFT, num_train_timesteps=1000
        )
        pipeline = WanPipeline(
            tokenizer=self.tokenizer,
            text_encoder=type(self.text_encoder)(self.text_encoder.config).half(),
            vae=AutoencoderKLWan.from_config(self.vae.config).half(),
            scheduler=scheduler,
            transformer=WanTransformer3DModel.from_config(self.transformer.config).half(),
        )
        pipeline.vae.load_state_dict(self.vae.state_dict())
        pipeline.transformer.load_state_dict(ema["transformer"].state_dict())
        pipeline.text_encoder.load_state_dict(ema["text_encoder"].state_dict())
        save_clean(pipeline, folder)
        (folder / "defaults.json").write_text(json.dumps(_defaults(self.form), indent=2) + "\n", encoding="utf-8")


def _defaults(form: Format) -> dict[str, float]:
    return {"frames": form.frames, "width": form.size, "height": form.size, "fps": form.fps, "steps": 20, "guidance_scale": 3.0}
