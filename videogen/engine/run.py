"""One batch of requests on its way from text to frames: the stages, their times and what was measured."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any

import torch

from videogen.backbones.base import Backbone, Conditioning
from videogen.backbones.preview import LatentPreview
from videogen.core.manifest import Manifest, collect_versions
from videogen.media.video import Video
from videogen.request.request import RenderRequest
from videogen.sampling.checks import Tiling, check_finite, check_not_flat, memory_errors
from videogen.sampling.loop import LoopState
from videogen.sampling.progress import Progress, ProgressCallback, report
from videogen.sampling.sample import begin, sample
from videogen.sampling.step_plan import StepRow
from videogen.sampling.technique import Technique
from videogen.schedulers.noise.source import AddressedNoise, DiffusersNoise, NoiseSource
from videogen.techniques.motion_plan import PlannedMotion
from videogen.techniques.motion_report import measure_motion

_log = logging.getLogger("videogen")


@dataclass
class Run:
    """One batch on its way through the stages."""

    backbone: Backbone
    requests: list[RenderRequest]
    progress: ProgressCallback | None
    motion: PlannedMotion | None = None
    plan: list[StepRow] = field(default_factory=list)
    timings_s: dict[str, float] = field(default_factory=dict)

    @property
    def first(self) -> RenderRequest:
        """What all requests of a batch share: everything but prompt and seed."""
        return self.requests[0]

    def stage(self, name: str, work: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        if name != "denoise":
            report(self.progress, Progress(name, 0, 1, 0.0))
        with memory_errors(name):
            result = work()
        self.timings_s[name] = elapsed = time.perf_counter() - begun
        if name != "denoise":
            report(self.progress, Progress(name, 1, 1, elapsed, 0.0))
        return result

    def encode_text(self) -> Conditioning:
        negatives = [r.negative_prompt or "" for r in self.requests] if self.first.guided else None
        text = self.backbone.encode_prompt([r.prompt for r in self.requests], negatives)
        for embedding in (text.positive, text.negative):
            if embedding is not None:
                check_finite(embedding, "encode (the prompt's embedding)", self.backbone.dtype)
        return text

    def denoise(
        self,
        text: Conditioning,
        techniques: Sequence[Technique],
        preview_every: int,
        make_preview: Callable[[], LatentPreview],
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        frames = self.backbone.geometry.shape(self.first.frames or 0, 0, 0)[2]
        state = begin(self.backbone, self.first, [self._noise(r) for r in self.requests], frames)
        preview = make_preview() if preview_every else None
        begun = time.perf_counter()

        def told(state: LoopState, steps: int, skipped: int) -> None:
            elapsed, done = time.perf_counter() - begun, state.index - skipped
            if not done:
                return report(self.progress, Progress("denoise", 0, steps, 0.0))
            picture = preview(state.latents) if preview and state.index % preview_every == 0 else None
            return report(
                self.progress,
                Progress("denoise", state.index, steps, elapsed, elapsed / done * (steps - state.index), picture),
            )

        latents, self.plan, measured = sample(self.backbone, state, self.first, text, techniques, told)
        return latents, measured

    def _noise(self, request: RenderRequest) -> NoiseSource:
        if request.noise == "diffusers":
            return DiffusersNoise(request.seed)
        if self.motion is not None and self.motion.warps():
            return self.motion.noise(self.backbone, request.seed)
        return AddressedNoise(request.seed)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """uint8 [batch, frame, height, width, 3]: round(255 x)."""
        check_finite(latents, "denoise (the final latents)", self.backbone.dtype)
        with Tiling(self.backbone, self.first.vae_tiling):
            pixels = self.backbone.decode(latents)
        check_finite(pixels, "decode", self.backbone.dtype)
        frames = (pixels * 255).round().to(torch.uint8)
        for clip in frames:
            check_not_flat(clip)
        return frames

    def video(self, index: int, frames: torch.Tensor, measured: dict[str, Any]) -> Video:
        request = self.requests[index]
        reading = self.backbone.read_prompt(request.prompt)
        for note in reading.notes():
            _log.warning("%s", note)
        if self.motion is not None:
            measured = {**measured, "motion": self.motion.told() | measure_motion(frames.numpy(), self.motion.plan)}
        if len(self.requests) > 1:
            measured = {**measured, "batch": {"size": len(self.requests), "index": index}}
        manifest = Manifest(
            request=request.as_run(self.backbone).to_dict(),
            model=self.backbone.identity,
            versions=collect_versions(),
            plan=[row.to_dict() for row in self.plan],
            measured={**measured, "prompt": asdict(reading)},
            timings_s={name: round(seconds, 4) for name, seconds in self.timings_s.items()},
        )
        assert request.fps
        return Video(frames.numpy(), Fraction(request.fps).limit_denominator(1001), manifest.to_dict())
