"""The embedded UNet: `UNetMotionModel` with its own CLIP text encoder, v-prediction, on the trained frame VAE's
latents.

Single images first, then clips of 16 frames at 8 fps. Clips start a little before or after the world's first frame, so
that objects start in different places. A fraction of the clips continues a clean prefix, marked by a timestep of 0, in
an endless world; long videos need this.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import AnimateDiffPipeline, AutoencoderKL, DDIMScheduler, UNetMotionModel
from torch import nn

from tools.world import Scene, sample_scene
from videogen.backbones.loading import dtype_option
from videogen.backbones.unet_frames import per_frame_timesteps

from .data import clips, long_clips
from .formats import FORMATS, Format
from .mixture import Mixture
from .pool import ContinuationPool, LatentPool, random_caption
from .saving import save_clean
from .scenes import CORNERS, SceneChange, described_scene
from .text import LENGTH, WIDTH, build_clip, build_tokenizer

ALL_PLAIN = Mixture()
FRAMES, STRIDE = 16, 2
MAX_PREFIX = 8  # frames of the longest clean prefix
BLUR = 30  # highest timestep of the noise in a clean prefix: frames that the model rendered differ from the world's
SPREAD = 8  # world frames by which a clip may start early or late
DEFAULTS = {"frames": FRAMES, "width": 64, "height": 64, "fps": 8, "steps": 20, "guidance_scale": 7.0}
TRAINING = {"dual_clock": [0.6, 0.2], "dual_clock_global": [0.6, 0.005], "prompt_grammar": "moving_shapes"}


def build(channels: int) -> UNetMotionModel:
    return UNetMotionModel(
        sample_size=8,
        in_channels=channels,
        out_channels=channels,
        down_block_types=("CrossAttnDownBlockMotion", "CrossAttnDownBlockMotion"),
        up_block_types=("CrossAttnUpBlockMotion", "CrossAttnUpBlockMotion"),
        block_out_channels=(64, 112),
        layers_per_block=1,
        norm_num_groups=16,
        cross_attention_dim=WIDTH,
        num_attention_heads=4,
        motion_num_attention_heads=4,
        motion_max_seq_length=32,
        use_motion_mid_block=False,
    )


class VideoUnet:
    """Part `unet`."""

    name = "unet"
    learning_rate = 1e-3

    def __init__(
        self,
        device: str,
        vae: Path,
        form: Format = FORMATS["small"],
        init: Path | None = None,
        batch: int = 4,
        mixture: Mixture = ALL_PLAIN,
    ) -> None:
        self.mixture = mixture
        self.device, self.form, self.batch, self.fresh = device, form, batch, init is None
        self.vae = AutoencoderKL.from_pretrained(vae, **dtype_option(torch.float32)).to(device).eval()
        self.tokenizer = build_tokenizer()
        if init:
            self.unet = UNetMotionModel.from_pretrained(init / "unet", **dtype_option(torch.float32))
            self.text_encoder = type(build_clip(self.tokenizer)).from_pretrained(
                init / "text_encoder", dtype=torch.float32
            )
        else:
            self.unet, self.text_encoder = build(self.vae.config.latent_channels), build_clip(self.tokenizer)
        self.scheduler = DDIMScheduler(
            num_train_timesteps=1000, beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.02,
            prediction_type="v_prediction", clip_sample=False, rescale_betas_zero_snr=True, timestep_spacing="trailing",
        )  # fmt: skip
        scenes = partial(described_scene, hard=mixture.hard, shapes=CORNERS)
        self.images = LatentPool(lambda seeds: self._latents(seeds, 1), 0, 20_000)
        self.clips = LatentPool(
            lambda seeds: self._latents(seeds, FRAMES, scenes, spread=SPREAD), 1_000_000, 12_000, scenes
        )
        self.continuations = self._continuation_pool(3_000_000, 6_000)

    def modules(self) -> dict[str, nn.Module]:
        return {"unet": self.unet, "text_encoder": self.text_encoder}

    def _latents(
        self, seeds: list[int], frames: int, scenes: Callable[[int], Scene] = sample_scene, spread: int = 0
    ) -> torch.Tensor:
        size = self.form.size
        return self._encode_pixels(
            clips(
                seeds, frames, size, stride=STRIDE, full=True, spread=spread, device=self.device, scenes=scenes
            ).pixels
        )

    def _encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            latents = self.vae.encode(pixels.transpose(1, 2).flatten(0, 1)).latent_dist.mode()
        return latents.unflatten(0, (len(pixels), -1)).transpose(1, 2) * self.vae.config.scaling_factor

    def _continuation_pool(self, first_seed: int, capacity: int) -> ContinuationPool:
        return ContinuationPool(
            self._continuation_latents, first_seed, capacity, length=2 * FRAMES, window=FRAMES, prefix=MAX_PREFIX
        )

    def _continuation_latents(self, changes: list[SceneChange]) -> torch.Tensor:
        """Latents of clips of twice the model's length."""
        return self._encode_pixels(
            long_clips(changes, 2 * FRAMES, self.form.size, stride=STRIDE, at=lambda slot: slot, device=self.device)
        )

    def loss(self, step: int, progress: float) -> tuple[torch.Tensor, dict[str, float]]:
        images = self.fresh and progress < 0.35
        count = 12 * self.batch if images else self.batch
        rng = np.random.default_rng((step, 78))
        pool = self.images if images else self.clips
        if not len(pool):
            pool.skip(step * count)
        pool.grow(count if len(pool) < 120 * count else (count // 3 if images else 2))
        plain, continued, _ = (count, 0, 0) if images else self.mixture.counts(count)
        latents, captions = pool.draw(plain, rng)
        loss = self._v_loss(latents.to(self.device), captions, rng)
        figures = {"frames": latents.shape[2], "pool": len(pool), "plain": float(loss.detach())}
        if not continued:
            return loss, figures
        if not len(self.continuations):
            self.continuations.skip(step * continued)
        self.continuations.grow(continued if len(self.continuations) < 60 * continued else 1)
        further = self._continued_loss(*self.continuations.draw_windows(continued, rng), rng)
        return (loss * plain + further * continued) / count, figures | {"continued": float(further.detach())}

    def _continued_loss(
        self, latents: torch.Tensor, captions: list[str], prefix: torch.Tensor, rng: np.random.Generator
    ) -> torch.Tensor:
        """v loss of the frames after a clean prefix, which the model gets with a timestep of 0.

        prefix: which frames belong to it, bool [b, f].
        """
        count = len(latents)
        x0, noise, clean = latents.to(self.device), torch.randn_like(latents).to(self.device), prefix.to(self.device)
        timesteps = self._timesteps(count, rng)
        in_prefix = clean[:, None, :, None, None]
        noisy = self.scheduler.add_noise(x0, noise, timesteps)
        blurred = self.scheduler.add_noise(x0, noise, (BLUR * torch.rand(count).square()).long().to(self.device))
        text = self.encode_text(captions).repeat_interleave(FRAMES, 0)
        with per_frame_timesteps(self.unet, torch.where(clean, 0, timesteps[:, None])):
            prediction = self.unet(torch.where(in_prefix, blurred, noisy), timesteps, text, return_dict=False)[0]
        error = (prediction.float() - self.scheduler.get_velocity(x0, noise, timesteps)).square().mean((1, 3, 4))
        return ((error * ~clean).sum(1) / (~clean).sum(1)).mean()

    def _timesteps(self, count: int, rng: np.random.Generator) -> torch.Tensor:
        spread = (rng.permutation(count) + rng.random(count)) / count
        return torch.from_numpy((spread * 1000).astype(np.int64)).to(self.device)

    def _v_loss(self, x0: torch.Tensor, captions: list[str], rng: np.random.Generator) -> torch.Tensor:
        timesteps = self._timesteps(len(x0), rng)
        noise = torch.randn_like(x0)
        noisy = self.scheduler.add_noise(x0, noise, timesteps)
        text = self.encode_text(captions).repeat_interleave(x0.shape[2], 0)
        prediction = self.unet(noisy, timesteps, text, return_dict=False)[0]
        return (prediction.float() - self.scheduler.get_velocity(x0, noise, timesteps)).square().mean()

    def encode_text(self, captions: list[str]) -> torch.Tensor:
        """Embeddings [b, length, width], as in AnimateDiffPipeline."""
        tokens = self.tokenizer(captions, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
        return self.text_encoder(tokens.input_ids.to(self.device)).last_hidden_state

    def evaluate(self, ema: dict[str, nn.Module]) -> dict[str, float]:
        """v loss on held-out scenes with fixed noise, also of continuations of a clean prefix."""
        unet, text_encoder = self.unet, self.text_encoder
        self.unet, self.text_encoder = ema["unet"], ema["text_encoder"]
        latents = self._latents([2**31 + i for i in range(8)], FRAMES)
        captions = [random_caption(sample_scene(2**31 + i), np.random.default_rng(1)) for i in range(8)]
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(1)
            figures = {"held_out_loss": float(self._v_loss(latents, captions, np.random.default_rng(1)))}
            if self.mixture.continued:
                pool, rng = self._continuation_pool(2**31, 8), np.random.default_rng(1)
                pool.grow(8)
                figures["continued_loss"] = float(self._continued_loss(*pool.draw_windows(16, rng), rng))
        self.unet, self.text_encoder = unet, text_encoder
        return figures

    def save(self, ema: dict[str, nn.Module], folder: Path) -> None:
        """A pipeline folder in fp16, as the package ships it."""
        pipeline = AnimateDiffPipeline(
            vae=AutoencoderKL.from_config(self.vae.config).half(),
            text_encoder=type(self.text_encoder)(self.text_encoder.config).half(),
            tokenizer=self.tokenizer,
            unet=UNetMotionModel.from_config(self.unet.config).half(),
            motion_adapter=None,
            scheduler=self.scheduler,
        )
        pipeline.vae.load_state_dict(self.vae.state_dict())
        pipeline.unet.load_state_dict(ema["unet"].state_dict())
        pipeline.text_encoder.load_state_dict(ema["text_encoder"].state_dict())
        save_clean(pipeline, folder)
        training = TRAINING | ({"clean_prefix": True} if self.mixture.continued else {})
        defaults = {"defaults": DEFAULTS, "training": training}
        (folder / "defaults.json").write_text(json.dumps(defaults, indent=2) + "\n", encoding="utf-8")
