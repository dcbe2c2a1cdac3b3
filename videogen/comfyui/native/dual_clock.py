"""Dual-clock motion on ComfyUI's native models (Time-to-Move, 2511.08633): a region of the clip follows a reference
clip between two noise levels, on models that were never trained for it.

Sampling begins at the `weak` level, with the noised reference; down to the `strong` level the region is held to it. The
sampler's latents stay its own: the region is replaced in what the model is given and in the clean latents that it
predicts, as ComfyUI's noise mask does it, but without a mask that models with per-frame timesteps would see. The
method: `schedulers.dual_clock`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from videogen.core.errors import InputError
from videogen.schedulers import ClampSchedule, clamp, plan_clamps, step_at

from ..hooks.latent_regions import pack_video, pool_region
from ..hooks.model_runs import PREDICT_NOISE, SAMPLER_SAMPLE, RunContext, Wrapper

KEY = "videogen_dual_clock"
_CLIP_AXES = 5


@dataclass(frozen=True)
class DualClock:
    """Settings of the node.

    reference: latents [b, c, f, h, w] of the clip whose motion is followed, in the scale of ComfyUI's LATENT. mask:
    [frame, height, width] in 0..1, on pixels or latents, of all frames or of one for all. weak, strong: noise levels
    from 1, pure noise, to 0. strength: factor of the mask. spatial, temporal: px and frames per latent.
    """

    reference: torch.Tensor
    mask: torch.Tensor
    weak: float = 0.95
    strong: float = 0.85
    strength: float = 1.0
    spatial: int = 8
    temporal: int = 4

    def __post_init__(self) -> None:
        for name in ("weak", "strong", "strength"):
            value = getattr(self, name)
            if not 0 <= value <= 1:  # so is NaN
                raise InputError(f"{name}={value} must be from 0 to 1")
        if self.strong > self.weak:
            raise InputError(
                f"strong={self.strong} is above weak={self.weak}: sampling begins at weak, and the region is released "
                "at strong; let strong be at most weak"
            )
        if self.reference.ndim != _CLIP_AXES:
            raise InputError(f"reference {list(self.reference.shape)} is not the latents of a clip; encode a video")
        if not bool(torch.isfinite(self.mask).all()) or float(self.mask.min()) < 0 or float(self.mask.max()) > 1:
            raise InputError("mask has values outside 0 to 1; give a MASK that is 1 where the clip follows the motion")
        self.region()

    def region(self) -> torch.Tensor:
        """The mask on the reference's latents, with its strength: [1, 1, f, h, w]."""
        size = self.reference.shape[2:]
        return self.strength * pool_region(self.mask, (size[0], size[1], size[2]), self.spatial, self.temporal)


class DualClockRun:
    """State of one sampling run. Implements `model_runs.ModelRun`. declined: why the run is plain; empty where it is
    not. Raises InputError where the sampled latents are not of the reference's size."""

    def __init__(self, context: RunContext, settings: DualClock) -> None:
        self._settings, self._sigmas = settings, context.sigmas
        self._shapes = context.latent_shapes
        self._sampling = context.model_sampling
        region = settings.region()
        _check_size(settings, self._shapes[0])
        self._levels = [_level(self._sampling, sigma) for sigma in context.sigmas]
        self.declined = _why_declined(self._levels, settings.strong, region)
        self._clamps = ClampSchedule(range(0)) if self.declined else _plan(self._levels, settings)
        self._region, self._mean = region, float(region.mean())
        self._everywhere = self._reference = self._noise = torch.zeros(0)
        self._skipped = 0

    def wrappers(self) -> Mapping[str, Wrapper]:
        return {} if self.declined else {SAMPLER_SAMPLE: self._sample, PREDICT_NOISE: self._predict}

    def report(self) -> dict[str, Any]:
        """The noise levels between which the region was held, the numbers of steps, and the fraction of the clip that
        the region takes; {"declined": reason} for a plain run."""
        if self.declined:
            return {"declined": self.declined}
        first, steps = self._clamps.steps.start, range(len(self._levels) - 1)
        return {
            "weak": round(self._levels[min(first, steps.stop)], 4),
            "strong": round(max(self._clamps.until, self._levels[-1]), 4),
            "held_steps": round(sum(self._clamps.prediction_fraction(step) for step in steps), 3),
            "skipped_steps": self._skipped,
            "steps": len(steps),
            "region": round(self._mean, 4),
        }

    def close(self) -> None:
        self._everywhere = self._reference = self._noise = torch.zeros(0)

    def _sample(
        self, executor: Any, guider: Any, sigmas: Any, extra_args: Any, callback: Any, noise: torch.Tensor,
        latents: torch.Tensor, denoise_mask: torch.Tensor | None = None, *args: Any, **kwargs: Any,
    ) -> Any:  # fmt: skip
        """Sampling from the noised reference, at the weak level, in place of the latents."""
        self._prepare(guider, latents, denoise_mask)
        if bool(noise.any()):
            self._noise = noise
            latents = self._reference if denoise_mask is None else clamp(latents, self._reference, denoise_mask)
            first = self._clamps.steps.start
            if len(self._shapes) == 1 and first < len(sigmas) - 1:
                self._skipped = first
                sigmas, extra_args = sigmas[first:], _with_sigmas(extra_args, sigmas[first:])
        else:  # the latents are another sampler's, which continues here, and have their noise in them
            self._noise = self._noise_in(latents, sigmas[0])
        return executor(guider, sigmas, extra_args, callback, noise, latents, denoise_mask, *args, **kwargs)

    def _prepare(self, guider: Any, latents: torch.Tensor, denoise_mask: torch.Tensor | None) -> None:
        """Reference and regions in the form of the sampler's latents. What a noise mask of the run holds stays."""
        rest = torch.zeros_like(latents)
        reference = pack_video(self._settings.reference.to(latents), rest, self._shapes)
        self._everywhere, self._region = (
            pack_video(mask.to(latents), rest[:1], self._shapes) * (1.0 if denoise_mask is None else denoise_mask)
            for mask in (torch.ones_like(self._region), self._region)
        )
        video = pack_video(torch.ones_like(self._settings.reference[:1]).to(latents), rest, self._shapes)
        self._reference = clamp(latents, guider.inner_model.process_latent_in(reference), video)

    def _noise_in(self, latents: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """The noise with which the reference becomes these latents, which are given without noise at this level."""
        sampling, nothing = self._sampling, torch.zeros_like(latents)
        unit = sampling.noise_scaling(sigma, torch.ones_like(latents), nothing)
        noisy = sampling.noise_scaling(sigma, nothing, latents)
        return (noisy - sampling.noise_scaling(sigma, nothing, self._reference)) / unit

    def _predict(self, executor: Any, x: torch.Tensor, sigma: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        step = step_at(self._sigmas, float(sigma.flatten()[0]))
        before = step < self._clamps.steps.start
        region = self._everywhere if before else self._region
        given = 1.0 if before else self._clamps.input_fraction(step)
        held = 1.0 if before else self._clamps.prediction_fraction(step)
        if given:
            level = sigma.reshape(-1, *[1] * (x.ndim - 1))
            x = clamp(x, self._sampling.noise_scaling(level, self._noise, self._reference), region)
        return clamp(executor(x, sigma, *args, **kwargs), self._reference, region, held)


def _plan(levels: list[float], settings: DualClock) -> ClampSchedule:
    """The steps that hold the region. The level after the last step counts as one more where it has noise: another
    sampler continues from there."""
    if levels[-1] > settings.weak:
        return ClampSchedule(range(len(levels), len(levels)), until=levels[-1])
    return plan_clamps(levels if levels[-1] > 0 else levels[:-1], settings.weak, settings.strong)


def _level(sampling: Any, sigma: torch.Tensor) -> float:
    """A sigma as a fraction of the training timesteps; of a model whose time has no beginning (EDM), as the fraction of
    noise in its latents."""
    if float(sigma) <= 0:
        return 0.0
    least, most = (torch.as_tensor(end).to(sigma) for end in (sampling.sigma_min, sampling.sigma_max))
    if float(sampling.timestep(least)) < 0:
        return float(sigma) / (1 + float(sigma))
    return min(1.0, float(sampling.timestep(sigma)) / float(sampling.timestep(most)))


def _why_declined(levels: list[float], strong: float, region: torch.Tensor) -> str:
    if not bool(region.any()):
        return "the mask is empty, or strength is 0"
    if len(levels) < 2 or levels[0] <= 0:
        return "the sampler has no steps"
    if levels[0] < strong:
        return f"its steps begin at noise level {levels[0]:.3f}, below strong={strong:g}"
    return ""


def _check_size(settings: DualClock, shape: tuple[int, ...]) -> None:
    own = tuple(settings.reference.shape)
    if own[1:] == tuple(shape[1:]) and own[0] in (1, shape[0]):
        return
    if len(shape) != _CLIP_AXES:
        raise InputError(f"the sampled latents {list(shape)} are not those of a clip; use an empty latent of a video")
    if own[2:] != tuple(shape[2:]):
        (frames, pixels), (wanted, size) = (_clip_size(one, settings) for one in (own, shape))
        raise InputError(
            f"the reference has {frames} frames of {pixels} pixels, and the sampled clip {wanted} of {size}; give both "
            "the same width, height and length"
        )
    raise InputError(
        f"the reference is a batch of {own[0]} clips with {own[1]} channels, and the sampled one {shape[0]} with "
        f"{shape[1]}; encode one reference, with the model's VAE"
    )


def _clip_size(shape: tuple[int, ...], settings: DualClock) -> tuple[int, str]:
    """Frames and pixels of latents, such as 9 and `64x48`."""
    _, _, frames, height, width = shape
    return (frames - 1) * settings.temporal + 1, f"{width * settings.spatial}x{height * settings.spatial}"


def _with_sigmas(extra_args: dict[str, Any], sigmas: torch.Tensor) -> dict[str, Any]:
    """The sampler's arguments for a run that begins later."""
    options = extra_args["model_options"]
    inner = {**options.get("transformer_options", {}), "sample_sigmas": sigmas}
    return {**extra_args, "model_options": {**options, "transformer_options": inner}}
