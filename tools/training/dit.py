"""The embedded DiT: `WanTransformer3DModel` with its own UMT5 text encoder, flow matching, on the trained VAE's
latents.

Single images first (large batches), then clips of 9, 17 and all frames. A fraction of the full-length clips has warped
noise at random degradation (Go-with-the-Flow, 2501.08331), so that the model follows motion in its noise as well as in
its prompt. Another fraction continues a clean prefix, marked by a timestep of 0 (Diffusion Forcing, 2407.01392), which
long videos need.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel
from torch import nn

from tools.world import Scene, sample_scene
from videogen.backbones.loading import dtype_option
from videogen.schedulers import warped_noise

from .data import clips, long_clips
from .formats import FORMATS, Format
from .mixture import Mixture
from .motion_reader import SHARPENED, freeze_motion_reader, is_motion_reader, sharpen, with_motion_reader
from .pool import ContinuationPool, LatentPool, WarpedPool, random_caption, scene_maps
from .probe import MotionProbe
from .saving import save_clean
from .scenes import SPINNERS, SceneChange, described_scene
from .text import LENGTH, WIDTH, build_t5, build_tokenizer
from .vae import encode

SHIFT = 3.0
#: For clips whose motion follows from their noise or their prefix: it is decided at high noise levels.
MOVING_SHIFT = 6.0
PROBE_WEIGHT = 1.0  # of the probe's loss next to the flow loss; decays with progress
MAX_PREFIX = 4  # latent frames of the longest clean prefix
BLUR = 0.1  # highest noise level in a clean prefix: frames that the model rendered differ a little from the world's
HELD_OUT = 8  # clips that the held-out losses are measured on
HALF_WARPED = Mixture(warped=0.5)


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
        self,
        device: str,
        vae: Path,
        form: Format = FORMATS["small"],
        init: Path | None = None,
        batch: int = 16,
        mixture: Mixture = HALF_WARPED,
        motion_reader: str | None = None,
    ) -> None:
        """mixture: of the full-length clips.

        motion_reader: "add" puts a block that reads motion in front of the model of `init` (`with_motion_reader`);
        "keep" is for a model that has one. The block is frozen, and sharpened only in what is saved.
        """
        if motion_reader and init is None:
            raise ValueError("a motion reader needs a trained model: pass it as init")
        self.mixture, self.follows_noise = mixture, motion_reader is not None
        self.device, self.form, self.batch, self.fresh = device, form, batch, init is None
        self.vae = AutoencoderKLWan.from_pretrained(vae, **dtype_option(torch.float32)).to(device).eval()
        self.tokenizer = build_tokenizer()
        if init:
            self.transformer = WanTransformer3DModel.from_pretrained(
                init / "transformer", **dtype_option(torch.float32)
            )
            self.text_encoder = type(build_t5(self.tokenizer)).from_pretrained(
                init / "text_encoder", dtype=torch.float32
            )
            if motion_reader == "add":
                white = torch.randn(128, self.vae.config.z_dim, form.slots, form.size // 8, form.size // 8)
                self.transformer = with_motion_reader(self.transformer, white)
            elif motion_reader is None and is_motion_reader(self.transformer):
                raise ValueError(f"{init} begins with a motion reader: pass motion_reader='keep'")
            if motion_reader:
                freeze_motion_reader(self.transformer)
            if motion_reader == "keep":
                sharpen(self.transformer, 1 / SHARPENED)
        else:
            self.transformer, self.text_encoder = build(self.vae.config.z_dim, form), build_t5(self.tokenizer)
        self.probe = MotionProbe(self.transformer) if mixture.warped else None
        self.mean = torch.tensor(self.vae.config.latents_mean).view(-1, 1, 1, 1)
        self.std = torch.tensor(self.vae.config.latents_std).view(-1, 1, 1, 1)
        self.images = LatentPool(lambda seeds: self._latents(seeds, 1), 0, 20_000)
        scenes = partial(described_scene, hard=mixture.hard, shapes=SPINNERS, spinning=0.86)
        self.clips = LatentPool(lambda seeds: self._latents(seeds, form.frames, scenes), 1_000_000, 12_000, scenes)
        self.continuations = self._continuation_pool(3_000_000, 6_000)
        self.warped = WarpedPool(
            lambda seeds: self._latents(seeds, form.frames, moving_scene), form, 2_000_000, 12_000, moving_scene
        )

    def modules(self) -> dict[str, nn.Module]:
        probes = {} if self.probe is None else {"probe": self.probe}
        return {"transformer": self.transformer, "text_encoder": self.text_encoder, **probes}

    def _latents(self, seeds: list[int], frames: int, scenes: Callable[[int], Scene] = sample_scene) -> torch.Tensor:
        """Normalised latents, as the pipeline's denoiser sees them."""
        form = self.form
        return self._encode_pixels(
            clips(seeds, frames, form.size, stride=form.stride, full=True, device=self.device, scenes=scenes).pixels
        )

    def _encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            latents = encode(self.vae, pixels).chunk(2, 1)[0].cpu()
        return (latents - self.mean) / self.std

    def _continuation_pool(self, first_seed: int, capacity: int) -> ContinuationPool:
        slots = self.form.slots
        return ContinuationPool(
            self._continuation_latents, first_seed, capacity, length=2 * slots - 1, window=slots, prefix=MAX_PREFIX
        )

    def _continuation_latents(self, changes: list[SceneChange]) -> torch.Tensor:
        """Latents of clips of twice the model's length."""
        form, first = self.form, lambda slot: max(0, 4 * slot - 3)
        return self._encode_pixels(
            long_clips(changes, 2 * form.frames - 1, form.size, stride=form.stride, at=first, device=self.device)
        )

    def loss(self, step: int, progress: float) -> tuple[torch.Tensor, dict[str, float]]:
        slots, count = self._stage(step, progress)
        rng = np.random.default_rng((step, 77))
        mixed = slots == self.form.slots and not (self.fresh and progress < 0.5)
        plain, continued, warped = self.mixture.counts(count) if mixed else (count, 0, 0)
        pool = self.images if slots == 1 else self.clips
        _fill(pool, step, plain, most=3000)
        latents, captions = pool.draw(plain, rng)
        latents = latents[:, :, :slots]
        losses = self._flow_losses(latents.to(self.device), captions, torch.randn_like(latents).to(self.device), rng)
        figures = {"slots": slots, "pool": len(pool), "plain": float(losses.detach().mean())}
        if continued:
            _fill(self.continuations, step, continued, most=2000)
            further = self._continued_losses(*self.continuations.draw_windows(continued, rng), rng)
            losses, figures = torch.cat([losses, further]), figures | {"continued": float(further.detach().mean())}
        if not warped:
            return losses.mean(), figures
        _fill(self.warped, step, warped, most=3000)
        moving, captions, noise, motion = self.warped.draw_warped(warped, rng)
        noise = degrade(noise, rng).to(self.device)
        warped_losses = self._flow_losses(moving.to(self.device), captions, noise, rng, MOVING_SHIFT)
        assert self.probe is not None  # the mixture has warped clips
        unexplained = self.probe.unexplained(motion.to(self.device))
        figures |= {"warped": float(warped_losses.detach().mean()), "unexplained": float(unexplained.detach())}
        return torch.cat([losses, warped_losses]).mean() + PROBE_WEIGHT * (1 - progress) ** 2 * unexplained, figures

    def _continued_losses(
        self, latents: torch.Tensor, captions: list[str], prefix: torch.Tensor, rng: np.random.Generator
    ) -> torch.Tensor:
        """Flow loss [b] of the frames after a clean prefix, which the model gets with a timestep of 0.

        prefix: which frames belong to it, bool [b, f].
        """
        count, x0, clean = len(latents), latents.to(self.device), prefix.to(self.device)
        noise, sigma = torch.randn_like(x0), self._noise_levels(count, rng, MOVING_SHIFT)
        levels = torch.where(clean, 0, sigma[:, None])
        blurred = torch.where(clean, BLUR * torch.rand(count, 1).square().to(self.device), levels)
        blur = blurred[:, None, :, None, None]
        tokens_per_frame = self.form.tokens // self.form.slots
        prediction = self.transformer(
            (1 - blur) * x0 + blur * noise,
            (levels * 1000).repeat_interleave(tokens_per_frame, 1),
            self.encode_text(captions),
            return_dict=False,
        )[0]
        error = (prediction.float() - (noise - x0)).square().mean((1, 3, 4))
        return (error * ~clean).sum(1) / (~clean).sum(1)

    def _noise_levels(self, count: int, rng: np.random.Generator, shift: float) -> torch.Tensor:
        """[count] noise levels, spread evenly over the schedule of the given shift."""
        uniform = torch.from_numpy((rng.permutation(count) + rng.random(count)) / count).float().to(self.device)
        return (shift * uniform / (1 + (shift - 1) * uniform)).clamp(1e-3, 1)

    def _flow_losses(
        self, x0: torch.Tensor, captions: list[str], noise: torch.Tensor, rng: np.random.Generator, shift: float = SHIFT
    ) -> torch.Tensor:
        """Flow-matching loss [b] of each sample."""
        sigma = self._noise_levels(len(x0), rng, shift)
        s = sigma.view(-1, 1, 1, 1, 1)
        prediction = self.transformer(
            (1 - s) * x0 + s * noise, sigma * 1000, self.encode_text(captions), return_dict=False
        )[0]
        return (prediction.float() - (noise - x0)).square().flatten(1).mean(1)

    def encode_text(self, captions: list[str]) -> torch.Tensor:
        """Embeddings [b, length, width], zero beyond the text, as in WanPipeline."""
        tokens = self.tokenizer(captions, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
        tokens = tokens.to(self.device)
        hidden = self.text_encoder(tokens.input_ids, tokens.attention_mask).last_hidden_state
        return hidden * tokens.attention_mask.unsqueeze(-1)

    def _stage(self, step: int, progress: float) -> tuple[int, int]:
        """(latent frames, samples per batch): a fresh model gets single images first, then all lengths in turn; a
        trained one mostly full-length clips."""
        if self.fresh and progress < 0.25:
            return 1, 8 * self.batch
        full = self.form.slots
        turns = (full, 3, full, 1, full, 5) if self.fresh else (full, full, 5, full, full, full, full, 1)
        slots = turns[step % len(turns)]
        return slots, {1: 8, 3: 3, 5: 2, full: 1}[slots] * self.batch

    def evaluate(self, ema: dict[str, nn.Module]) -> dict[str, float]:
        """Flow loss on held-out scenes with fixed noise: described ones with plain noise, undescribed ones with plain
        and with warped noise, and continuations of a clean prefix."""
        transformer, text_encoder = self.transformer, self.text_encoder
        self.transformer, self.text_encoder = ema["transformer"], ema["text_encoder"]
        seeds = [2**31 + i for i in range(HELD_OUT)]
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(1)
            described = self._latents(seeds, self.form.frames)
            undescribed = self._latents(seeds, self.form.frames, _undescribed_scene)
            plain = torch.randn_like(described)
            warped = torch.cat([self._warped_noise(_undescribed_scene(s), s) for s in seeds])
            cases = {
                "held_out_loss": (described, sample_scene, plain),
                "undescribed_loss": (undescribed, _undescribed_scene, plain),
                "warped_loss": (undescribed, _undescribed_scene, warped),
            }
            figures = {
                name: float(self._flow_losses(
                    latents.to(self.device),
                    [random_caption(scenes(seed), np.random.default_rng(1)) for seed in seeds],
                    noise.to(self.device),
                    np.random.default_rng(1),
                ).mean())
                for name, (latents, scenes, noise) in cases.items()
            }  # fmt: skip
            if self.mixture.continued:
                pool, rng = self._continuation_pool(2**31, HELD_OUT), np.random.default_rng(1)
                pool.grow(HELD_OUT)
                windows = pool.draw_windows(2 * HELD_OUT, rng)
                figures["continued_loss"] = float(self._continued_losses(*windows, rng).mean())
        self.transformer, self.text_encoder = transformer, text_encoder
        return figures

    def _warped_noise(self, scene: Scene, seed: int) -> torch.Tensor:
        return warped_noise(scene_maps(scene, self.form, seed), channels=self.vae.config.z_dim, seed=seed)

    def save(self, ema: dict[str, nn.Module], folder: Path) -> None:
        """A pipeline folder in fp16, as the package ships it."""
        scheduler = UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=SHIFT, num_train_timesteps=1000
        )
        transformer = WanTransformer3DModel.from_config(self.transformer.config)
        transformer.load_state_dict(ema["transformer"].state_dict())
        if self.follows_noise:
            sharpen(transformer)
        pipeline = WanPipeline(
            tokenizer=self.tokenizer,
            text_encoder=type(self.text_encoder)(self.text_encoder.config).half(),
            vae=AutoencoderKLWan.from_config(self.vae.config).half(),
            scheduler=scheduler,
            transformer=transformer.half(),
        )
        pipeline.vae.load_state_dict(self.vae.state_dict())
        pipeline.text_encoder.load_state_dict(ema["text_encoder"].state_dict())
        save_clean(pipeline, folder)
        (folder / "defaults.json").write_text(json.dumps(self._defaults(), indent=2) + "\n", encoding="utf-8")

    def _defaults(self) -> dict[str, Any]:
        form = self.form
        clip = {
            "frames": form.frames,
            "width": form.size,
            "height": form.size,
            "fps": form.fps,
            "steps": 20,
            "guidance_scale": 3.0,
        }
        training = {"warped_noise": True, "motion_backend_global": "dual_clock"} if self.follows_noise else {}
        training |= {"clean_prefix": True} if self.mixture.continued else {}
        training |= {"dual_clock": [0.85, 0.45], "dual_clock_global": [0.85, 0.03]}
        return {"defaults": clip, "training": training | {"prompt_grammar": "moving_shapes"}}


def moving_scene(seed: int) -> Scene:
    """A scene for warped noise; the motion of every second one is not described by its caption."""
    return _undescribed_scene(seed) if seed % 2 else sample_scene(seed)


def _undescribed_scene(seed: int) -> Scene:
    return sample_scene(seed, cameras=0.25, undescribed=True)


def degrade(noise: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Warped noise mixed with plain noise, each sample by its own weight gamma in 0..1 (Go-with-the-Flow, section 3.3).

    gamma is the square of a uniform number, so that half of the clips retain nearly all of their motion.
    """
    gamma = torch.from_numpy(rng.random((len(noise), 1, 1, 1, 1)) ** 2).float()
    return ((1 - gamma) * noise + gamma * torch.randn_like(noise)) / ((1 - gamma) ** 2 + gamma**2).sqrt()


def _fill(pool: LatentPool, step: int, count: int, most: int) -> None:
    """Grow a pool by one step's clips: all that the step draws at first, then fewer."""
    if not len(pool):
        pool.skip(step * count)
    pool.grow(count if len(pool) < 6 * count else 4 if len(pool) < most else 1)
