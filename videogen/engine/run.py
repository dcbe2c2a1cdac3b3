"""Run: one batch of requests on its way from text to frames, with the duration of each stage and the measurements."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from videogen.backbones.base import Backbone
from videogen.backbones.clip import Clip
from videogen.backbones.conditioning import ClipText, negative_prompt_notes
from videogen.backbones.guided import GuidedClip
from videogen.backbones.preview import LatentPreview
from videogen.backbones.residency import Residency
from videogen.core.errors import InputError, OutOfMemoryError
from videogen.core.logs import log_note
from videogen.core.manifest import Manifest, collect_versions
from videogen.media.video import Video
from videogen.request.request import RenderRequest
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
from videogen.techniques.kernel_validation import DECODER, TEXT, validate_component, with_components
from videogen.techniques.motion_plan import PlannedMotion
from videogen.techniques.motion_report import measure_motion

from .clip_audio import read_audio_of
from .memory_use import DECODE, DENOISE, ENCODE, MemoryUse
from .saved_latents import SavedLatents, save_latents

_Result = TypeVar("_Result")
#: What of a clip in a batch is bit for bit that of the clip alone; frames differ by the rounding of larger products.
EXACT = ("noise", "timesteps")


@dataclass(frozen=True)
class Previews:
    """A preview of the latents after every so many steps."""

    preview: LatentPreview
    every: int


class CallPhase(Technique):
    """Where in a step a run is. predicting: from before its model calls to the prediction."""

    predicting = False

    def before_step(self, row: StepRow, state: LoopState) -> None:
        self.predicting = True

    def prediction(self, row: StepRow, state: LoopState, prediction: torch.Tensor) -> torch.Tensor:
        self.predicting = False
        return prediction


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
    memory: MemoryUse | None = None
    state: LoopState | None = None
    phase: CallPhase = field(default_factory=CallPhase)
    step_count: int = 0
    kernels: dict[str, Any] = field(default_factory=dict)

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
        with self.stage("encode"), validate_component(self.backbone, self.first, TEXT, self.kernels):
            text = self._retry(ENCODE, self._encode_text)
        if self.memory is not None:
            self.memory.end_encoding()
        started = time.perf_counter()
        latents, measured = self._retry(DENOISE, lambda: self._denoise(text, techniques, previews))
        self.timings_s["denoise"] = time.perf_counter() - started
        return latents, measured

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Frames uint8 [batch, frame, height, width, 3]: round(255 x)."""
        clip = self.clip
        assert clip is not None
        attempts = iter((clip.decode,))
        # a pipeline that failed has left its call: the VAE alone decodes at the next attempt
        frames = self._retry(DECODE, lambda: self._as_frames(latents, self._decoder(next(attempts, None))))
        for one in frames:
            check_not_flat(one)
        return frames

    def decode_saved(self, latents: torch.Tensor) -> torch.Tensor:
        """Frames as `decode`, of latents without a clip: by the VAE alone."""
        return self._retry(DECODE, lambda: self._as_frames(latents, self.backbone.decode))

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
        residency = Residency() if self.memory is None else self.memory.residency
        validated = validate_component(self.backbone, self.first, DECODER, self.kernels)
        with Tiling(self.backbone, self.first.vae_tiling or residency.tiling), validated:
            parts = [self._to_frames(decode(part)) for part in (latents.split(1) if residency.slicing else (latents,))]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _to_frames(self, pixels: torch.Tensor) -> torch.Tensor:
        check_finite(pixels, "decode", self.backbone.dtype)
        return (pixels * 255).round().to(torch.uint8)

    def _decoder(self, decode: Callable[[torch.Tensor], torch.Tensor] | None) -> Callable[[torch.Tensor], torch.Tensor]:
        """The clip's own decoding, at the first attempt and where it can be repeated; else the VAE's alone."""
        if decode is not None:
            return decode
        assert self.clip is not None
        return self.clip.decode if isinstance(self.clip, GuidedClip) else self.backbone.decode

    def _retry(self, stage: str, attempt: Callable[[], _Result]) -> _Result:
        """What an attempt returns, once it fits the memory: each time it does not, with less."""
        while True:
            try:
                with memory_errors(stage):
                    return attempt()
            except OutOfMemoryError as error:
                failure = OutOfMemoryError(str(error))  # without the traceback, which holds the tensors
            single = stage == DECODE or len(self.requests) == 1  # others are divided by `render_batches`
            if self.memory is None or not single or not self.memory.step_down(stage, len(self.requests)):
                raise failure

    def save_finished(self, error: OutOfMemoryError) -> OutOfMemoryError:
        """The error, once the latents of the last finished step are in a file that it names. Not for several clips
        before their last step: they are rendered again in smaller batches."""
        state, total = self.state, len(self.plan) or self.step_count
        if state is None or not state.index or (len(self.requests) > 1 and state.index < total):
            return error
        path = save_latents(state.latents, state.index, total, self.requests, self.backbone.identity)
        found = OutOfMemoryError(
            f"{error}; the latents after {state.index} of {total} steps are saved: `videogen decode {path} -o FILE` "
            "decodes them, also on another machine"
        )
        found.latents = path
        return found

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
        measured = {**measured, **({} if self.memory is None else self.memory.to_manifest())}
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
            measured={**with_effects(with_components(measured, self.kernels)), **read},
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
        resumed = self._resumed(techniques)
        if resumed is not None:
            return self._sample(resumed, techniques, previews)
        self.close()
        self.conditions = read_conditions(self.first, self.backbone)
        sources, given = [self._noise(one) for one in self.requests], self.conditions.given
        state = begin(self.backbone, self.first, text, sources, given=given)
        self.clip = state.clip
        return self._sample(state, techniques, previews)

    def _resumed(self, techniques: Sequence[Technique]) -> LoopState | None:
        """The last finished step of an attempt that ran out of memory in a model call; None to begin again, where a
        technique or the pipeline has left its own run, or the solver may be within its step."""
        plain = all(one.only_observes for one in techniques) and isinstance(self.clip, GuidedClip)
        return self.state if plain and self.phase.predicting else None

    def _sample(
        self, state: LoopState, techniques: Sequence[Technique], previews: Previews | None
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        estimate = CleanEstimate()
        observed = [*techniques, *([] if previews is None else [estimate]), self.phase]
        started = time.perf_counter()

        def on_step(state: LoopState, steps: int, skipped: int) -> None:
            self.step_count = steps
            self.state = state
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


def decode_saved(backbone: Backbone, saved: SavedLatents, file: str, *, vae_tiling: bool) -> list[Video]:
    """The videos of saved latents. InputError for those of another model."""
    if saved.model["hash"] != backbone.identity["hash"]:
        raise InputError(
            f"{file} has latents of {saved.model['name']!r} with other weights; load that model, not {backbone.name!r}"
        )
    requests = [RenderRequest.from_dict({**values, "device": None, "memory": None}) for values in saved.requests]
    memory = MemoryUse(backbone, Residency(tiling=vae_tiling, slicing=len(requests) > 1))
    run = Run(backbone, [request.resolve(backbone) for request in requests], None, memory=memory)
    if saved.step < saved.steps:
        log_note("%s: step %d of %d, so the frames are noisy", file, saved.step, saved.steps)
    with run.stage(DECODE):
        frames = run.decode_saved(saved.latents.to(backbone.device))
    return [run.video(index, frames[index].cpu(), {}) for index in range(len(requests))]
