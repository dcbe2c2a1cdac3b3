"""Run: one batch of requests on its way from text to frames, with the duration of each stage and the measurements."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from videogen.backbones.base import Backbone
from videogen.backbones.clip import Clip
from videogen.backbones.conditioning import ClipText, negative_prompt_notes
from videogen.backbones.preview import LatentPreview
from videogen.core.logs import log_note
from videogen.core.manifest import Manifest, collect_versions
from videogen.media.video import Video
from videogen.request.resolved import ResolvedRequest
from videogen.sampling.checks import Tiling, check_finite, check_not_flat, memory_errors
from videogen.sampling.clean_estimate import CleanEstimate
from videogen.sampling.condition_reading import ReadConditions, read_conditions
from videogen.sampling.loop import LoopState
from videogen.sampling.progress import Progress, ProgressCallback, report
from videogen.sampling.sample import begin, sample
from videogen.sampling.step_plan import StepRow
from videogen.sampling.technique import Technique
from videogen.schedulers.noise.source import AddressedNoise, DiffusersNoise, NoiseSource
from videogen.techniques.effects import with_effects
from videogen.techniques.motion_plan import PlannedMotion
from videogen.techniques.motion_report import measure_motion

from .clip_audio import read_audio_of

#: What of a clip in a batch is bit for bit that of the clip alone; frames differ by the rounding of larger products.
EXACT = ("noise", "timesteps")


@dataclass(frozen=True)
class Previews:
    """A preview of the latents after every so many steps."""

    preview: LatentPreview
    every: int


@dataclass
class Run:
    """One batch. requests: resolved, alike in everything but prompt and seed; motion: the plan of their motion;
    motions: the same for each clip, where its first frame has been looked at."""

    backbone: Backbone
    requests: list[ResolvedRequest]
    progress: ProgressCallback | None
    motion: PlannedMotion | None = None
    motions: list[PlannedMotion] = field(default_factory=list)
    plan: list[StepRow] = field(default_factory=list)
    timings_s: dict[str, float] = field(default_factory=dict)
    clip: Clip | None = None
    conditions: ReadConditions = field(default_factory=ReadConditions)

    @property
    def first(self) -> ResolvedRequest:
        return self.requests[0]

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage, and report its beginning and end."""
        started = time.perf_counter()
        report(self.progress, Progress(name, 0, 1, 0.0))
        with memory_errors(name):
            yield
        self.timings_s[name] = elapsed = time.perf_counter() - started
        report(self.progress, Progress(name, 1, 1, elapsed, 0.0))

    def sample(
        self, techniques: Sequence[Technique] = (), previews: Previews | None = None
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """Encode the prompts and denoise: (final latents, what the techniques measured)."""
        with self.stage("encode"):
            text = self._encode_text()
        started = time.perf_counter()
        with memory_errors("denoise"):
            latents, measured = self._denoise(text, techniques, previews)
        self.timings_s["denoise"] = time.perf_counter() - started
        return latents, measured

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Frames uint8 [batch, frame, height, width, 3]: round(255 x)."""
        assert self.clip is not None
        frames = self._as_frames(latents, self.clip.decode)
        for clip in frames:
            check_not_flat(clip)
        return frames

    def decode_first_frame(self, latents: torch.Tensor) -> torch.Tensor:
        """The first frame uint8 [batch, height, width, 3]."""
        assert self.clip is not None
        frames = self._as_frames(latents, self.clip.decode_first_frame)
        for frame in frames:
            check_not_flat(frame[None])
        return frames

    def _as_frames(self, latents: torch.Tensor, decode: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Pixels of the final latents: round(255 x)."""
        check_finite(latents, "denoise (the final latents)", self.backbone.dtype)
        with Tiling(self.backbone, self.first.vae_tiling):
            pixels = decode(latents)
        check_finite(pixels, "decode", self.backbone.dtype)
        return (pixels * 255).round().to(torch.uint8)

    def close(self) -> None:
        """Free what the clip holds on the model."""
        if self.clip is not None:
            self.clip.close()

    def video(self, index: int, frames: torch.Tensor, measured: dict[str, Any]) -> Video:
        """One request's video, with its manifest, of the frames that were generated, uint8 [frame, height, width,
        3]."""
        request = self.requests[index]
        generated = len(frames)
        frames = frames[: generated - (request.generated_frames - request.frames)]
        if generated != request.generated_frames:
            log_note("%s made %d frames, not %d: its pipeline has a rule of its own", request.model, generated,
                     request.generated_frames)  # fmt: skip
        reading = self.backbone.read_prompt(request.prompt)
        read = {"prompt": reading.to_dict()} | self.backbone.measure_negative_prompt(request.negative_prompt)
        for note in (*request.notes, *reading.notes(), *negative_prompt_notes(read)):
            log_note("%s", note)
        motion = self.motions[index] if self.motions else self.motion
        if motion is not None:
            measured = {**measured, "motion": motion.to_manifest() | measure_motion(frames.numpy(), motion.plan)}
        if generated != request.frames:
            length = {"frames": request.frames, "generated_frames": generated}
            measured = {**measured, "length": length}
        if len(self.requests) > 1:
            measured = {**measured, "batch": {"size": len(self.requests), "index": index, "exact": list(EXACT)}}
        if self.conditions.records:
            measured = {**measured, "conditions": list(self.conditions.records)}
        measured = {**measured, **self.backbone.adaptation.records}
        audio = read_audio_of(self.clip, index, request, self.backbone)
        if audio is not None:
            measured = {**measured, "audio": {"channels": len(audio.samples), "rate": audio.rate}}
        manifest = Manifest(
            request=request.to_dict(),
            model=self.backbone.recorded_identity,
            versions=collect_versions(),
            plan=[row.to_dict() for row in self.plan],
            measured={**with_effects(measured), **read},
            timings_s={name: round(seconds, 4) for name, seconds in self.timings_s.items()},
        )
        return Video(frames.numpy(), request.exact_fps, manifest.to_dict(), audio=audio)

    def _encode_text(self) -> ClipText:
        negatives = [request.negative_prompt for request in self.requests] if self.first.guided else None
        text = self.backbone.condition([request.prompt for request in self.requests], negatives)
        for embedding in text.embeddings:
            check_finite(embedding, "encode (the prompt's embedding)", self.backbone.dtype)
        return text

    def _denoise(
        self, text: ClipText, techniques: Sequence[Technique], previews: Previews | None
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        self.conditions = read_conditions(self.first, self.backbone)
        sources, given = [self._noise(one) for one in self.requests], self.conditions.given
        state = begin(self.backbone, self.first, text, sources, given=given)
        self.clip = state.clip
        estimate = CleanEstimate()
        observed = techniques if previews is None else (*techniques, estimate)
        started = time.perf_counter()

        def on_step(state: LoopState, steps: int, skipped: int) -> None:
            elapsed, done = time.perf_counter() - started, state.index - skipped
            if not done:
                return report(self.progress, Progress("denoise", 0, steps, 0.0))
            shows = previews is not None and state.index % previews.every == 0
            image = previews.preview(estimate.latents(state)) if previews is not None and shows else None
            remaining = elapsed / done * (steps - state.index)
            return report(self.progress, Progress("denoise", state.index, steps, elapsed, remaining, image))

        latents, self.plan, measured = sample(self.backbone, state, self.first, observed, on_step)
        return latents, measured

    def _noise(self, request: ResolvedRequest) -> NoiseSource:
        if request.noise == "diffusers":
            return DiffusersNoise(request.seed)
        if self.motion is not None and self.motion.warps():
            return self.motion.noise(self.backbone, request.seed)
        return AddressedNoise(request.seed)
