"""Engine: a loaded model and the way from a request to a video."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, overload

import torch

from videogen.backbones.base import Backbone
from videogen.backbones.checkpoints.revisions import pin_sources
from videogen.backbones.in_memory import wrap_pipeline
from videogen.backbones.load_options import LoadOptions
from videogen.backbones.preview import LatentPreview
from videogen.backbones.recorded import check_allowed, check_recorded_weights
from videogen.core.checks import check_count
from videogen.core.disk_cache import PREVIEW, DiskCache
from videogen.core.errors import InputError, OutOfMemoryError, UnsupportedError
from videogen.core.keywords import suggest_keywords
from videogen.core.logs import log_note
from videogen.core.manifest import Manifest
from videogen.core.notebook import build_html
from videogen.longvideo.redo import redo, restore
from videogen.longvideo.render import LongVideo, render_long
from videogen.longvideo.space import check_memory
from videogen.media.metadata import read_manifest
from videogen.media.video import Video
from videogen.request.request import RenderRequest
from videogen.request.resolve import resolved_for
from videogen.request.resolved import ResolvedRequest
from videogen.request.technique_checks import check_technique
from videogen.sampling.checks import memory_errors
from videogen.sampling.progress import ProgressCallback, check_progress
from videogen.sampling.technique import Technique
from videogen.sampling.technique_checks import check_techniques_given, name_of
from videogen.techniques.build import build_lora_schedule, build_techniques
from videogen.techniques.dual_clock import DualClockTechnique
from videogen.techniques.effects import effect_notes, expected_no_effect
from videogen.techniques.motion_plan import PlannedMotion, plan_draft, plan_motion, read_first_frame

from .arguments import check_request, object_name, path_text
from .batches import check_equal_settings, choose_limit, render_batches
from .long_memory import change_within_memory, render_segments, render_within_memory
from .memory_use import MemoryFitter, load_for_memory
from .options import CALL_OPTIONS, GenerateOptions, build_requests
from .run import Previews, Run, decode_saved
from .saved_latents import read_latents
from .seeds import has_several_seeds
from .turns import in_turn

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from videogen.planning.plan import MemoryPlan


_loading = threading.RLock()  # the libraries patch torch while they load a model


class Engine:
    """A loaded model that generates videos.

    engine = Engine.load("embedded")
    video = engine.generate("a red ball moves right on a black background", seed=1)
    video.save("ball.mp4")

    An engine may be used from several threads: calls take turns, also those of two engines with the same model. Engines
    with models of their own run in parallel; load them before other threads generate, since loading a model changes
    torch's default dtype for the entire process.
    """

    def __init__(self, backbone: Backbone) -> None:
        if not isinstance(backbone, Backbone):
            raise InputError(
                f"Engine({type(backbone).__name__}) takes a Backbone; use Engine.from_pipeline(pipeline) for a "
                "diffusers pipeline, or Engine.load(name_or_path)"
            )
        self.backbone = backbone
        self._preview: LatentPreview | None = None
        self._fitter = MemoryFitter(backbone)

    @classmethod
    @suggest_keywords
    def load(
        cls,
        name_or_path: str | PathLike[str] = "embedded",
        *,
        dtype: str | torch.dtype | None = None,
        device: str | torch.device | None = None,
        offload: str | None = None,
        local_files_only: bool = False,
        compile: bool | str = False,
        channels_last: bool = False,
        memory: str | int | None = None,
        base: str | PathLike[str] | None = None,
        revision: str | None = None,
        transformer: str | PathLike[str] | None = None,
        transformer_2: str | PathLike[str] | None = None,
        unet: str | PathLike[str] | None = None,
        vae: str | PathLike[str] | None = None,
        text_encoder: str | PathLike[str] | None = None,
        motion_adapter: str | PathLike[str] | None = None,
        precision: str | None = None,
    ) -> Engine:
        """Load an embedded model (`embedded`, `embedded-unet`), a folder in diffusers' layout, a hub id, or a file.

        dtype: `float32`, `bfloat16` or `float16` (None: fp32 on a CPU, bf16 elsewhere); device: such as
        `cuda:1` (None: the best that is present); either may be torch's object; offload: `model` or
        `sequential`; local_files_only: load a hub id from the local cache, without asking the hub. compile: compile
        the denoiser's repeated blocks at their first call (`cuda-graphs`: and replay them as CUDA graphs);
        channels_last: the VAE in channels-last memory; memory: bytes of the device that renders may take, such as
        `12GB`: each is planned for it. base: the rest of a file's pipeline, a folder or hub id; revision: branch, tag
        or commit of a hub id, also as `owner/name@main`; transformer, vae, text_encoder, ...: a component from another
        file, folder or hub id (docs/guide/models.md); precision: how the denoiser's weights are stored, such as `int8`
        (`videogen render --help` lists them). Raises InputError, CheckpointError, UnsupportedError or
        OutOfMemoryError.
        """
        if not isinstance(name_or_path, str | PathLike):
            raise InputError(f"model={name_or_path!r} is not a name or a folder; give one, such as 'embedded'")
        with memory_errors("load"), _loading:
            options = LoadOptions(
                dtype=object_name(dtype), device=object_name(device), offload=offload,
                local_files_only=local_files_only,
                base=path_text(base), revision=revision, transformer=path_text(transformer),
                transformer_2=path_text(transformer_2), unet=path_text(unet), vae=path_text(vae),
                text_encoder=path_text(text_encoder), motion_adapter=path_text(motion_adapter), compile=compile,
                channels_last=channels_last, memory=memory, precision=precision,
            )  # fmt: skip
            backbone, fitter = load_for_memory(fspath(name_or_path), options)
            engine = cls(backbone)
            engine._fitter = fitter
            return engine

    @classmethod
    @suggest_keywords
    def load_like(
        cls,
        video: str | PathLike[str],
        *,
        allow_model: bool = False,
        dtype: str | torch.dtype | None = None,
        device: str | torch.device | None = None,
        offload: str | None = None,
        compile: bool | str | None = None,
        channels_last: bool | None = None,
        memory: str | int | None = None,
        precision: str | None = None,
    ) -> Engine:
        """The model that rendered a video file, as the file's manifest names it, if its weights have not changed since.

        allow_model: whether it may come from the hub; without it only embedded models and folders are loaded. The other
        options are those of `load`; None: as the manifest records them. Raises as `load`; InputError also for a file
        without a manifest, a model that is not allowed, and other weights, which are hashed before they are loaded
        (after it where the video is of `from_pipeline`).
        """
        values = read_manifest(fspath(video))
        if values is None:
            raise InputError(f"video={fspath(video)!r} has no videogen manifest; give a file that videogen wrote")
        manifest = Manifest.from_dict(values)
        where, recorded = fspath(video), manifest.model
        request = RenderRequest.from_dict({**manifest.request, **pin_sources(manifest.request, recorded)})
        options = request.load_options()
        check_allowed(request.model, where, options, allow_model=allow_model)
        check_recorded_weights(request.model, recorded, where, options=options)
        changes = {
            "dtype": dtype, "device": device, "offload": offload, "compile": compile, "channels_last": channels_last,
            "memory": memory, "precision": precision,
        }  # fmt: skip
        recorded_options = asdict(options)
        given = {name: value for name, value in changes.items() if value is not None}
        engine = cls.load(request.model or "embedded", **(recorded_options | given))
        check_recorded_weights(request.model, recorded, where, engine.backbone)
        return engine

    @classmethod
    def from_pipeline(cls, pipeline: Any) -> Engine:
        """The engine of a diffusers pipeline that is already loaded, with its components, dtype and device as they are.

        Its model's name is the folder or hub id that the pipeline was loaded from. Raises InputError for what is no
        pipeline, UnsupportedError for a class that no family loads.
        """
        return cls(wrap_pipeline(pipeline))

    def __repr__(self) -> str:
        return f"<Engine: {', '.join(self._facts().values())}>"

    def _repr_html_(self) -> str:
        return build_html("Engine", self._facts())

    def _facts(self) -> dict[str, str]:
        backbone = self.backbone
        parameters = sum(weight.numel() for module in backbone.components().values() for weight in module.parameters())
        defaults, dtype = backbone.defaults, str(backbone.dtype).removeprefix("torch.")
        return {
            "model": f"{backbone.name} ({backbone.family})",
            "weights": f"{parameters / 1e6:.3g} M parameters, {dtype} on {backbone.device}",
            "clip": f"{defaults.frames} frames of {defaults.width}x{defaults.height}, {defaults.fps:g} fps",
        }

    @overload
    def generate(self, prompt: str = "", **options: Unpack[GenerateOptions]) -> Video: ...

    @overload
    def generate(
        self, prompt: str = "", *, seeds: Sequence[int], **options: Unpack[GenerateOptions]
    ) -> list[Video]: ...

    @overload
    def generate(self, prompt: str = "", *, count: int, **options: Unpack[GenerateOptions]) -> list[Video]: ...

    @overload
    def generate(
        self,
        prompt: list[str] | tuple[str, ...],
        *,
        seeds: Sequence[int] | None = None,
        count: int | None = None,
        **options: Unpack[GenerateOptions],
    ) -> list[Video]: ...

    def generate(self, prompt: str | list[str] | tuple[str, ...] = "", **options: Any) -> Video | list[Video]:
        """Generate a video, or one for each of several prompts in one batch (the i-th with seed + i, or with the i-th
        of several seeds).

        seeds: a list; each prompt is rendered with each of them; count: with so many seeds, from `seed` on. Both give a
        list in the order of the prompts. batch_size: the most clips at once; None: as many as fit the memory, for
        several seeds on a CPU 2. Clips are rendered one after another where `propagate` decides from their content what
        to reuse (`max_error`, `first-block`), so that each is the clip that it is alone; where they are long; and where
        the model's pipeline takes one at a time.

        options: every field of `RenderRequest`, which describes them; size: (width, height) in px, for both at once;
        techniques: further `Technique` objects around the loop; progress: called with a `Progress` after each step;
        preview_every: steps between previews in `progress`, 0 for none. A long video is returned with all its frames
        in memory; `render_long` streams to a file.

        Raises InputError, UnsupportedError, NumericsError or OutOfMemoryError, naming the value and what to do;
        Cancelled if `progress` returned False.
        """
        requests, several = build_requests(prompt, options), has_several_seeds(options)
        call = {name: options[name] for name in CALL_OPTIONS if name in options}
        videos = self._render_all(requests, **call, all_at_once=not several)
        return videos if several or not isinstance(prompt, str) else videos[0]

    @suggest_keywords
    def render(
        self,
        request: RenderRequest | ResolvedRequest,
        *,
        techniques: Sequence[Technique] = (),
        progress: ProgressCallback | None = None,
        preview_every: int = 0,
    ) -> Video:
        """Render the video of one request, resolved or not; otherwise as `generate`."""
        check_request(request)
        return self._render_all([request], techniques, progress, preview_every)[0]

    @suggest_keywords
    def plan(self, request: RenderRequest | ResolvedRequest, *, memory: str | int | None = None) -> MemoryPlan:
        """The peak memory by stage and the time of a request, and the residency that fits the memory. Computes nothing.

        memory: such as `12GB`; None: the request's, else what the engine was loaded with, else what is free. Raises as
        `generate`; InputError for less memory than the smallest plan takes, which it names.
        """
        from videogen.planning.plan import plan_loaded

        check_request(request)
        return plan_loaded(self.backbone, request, memory=memory or self._fitter.memory)

    @suggest_keywords
    def render_each(
        self,
        requests: Sequence[RenderRequest | ResolvedRequest],
        *,
        progress: ProgressCallback | None = None,
        batch_size: int | None = None,
    ) -> Iterator[Video]:
        """Render requests that are alike in everything but prompt and seed, and yield each video as soon as its batch
        is done, in order; otherwise as `generate` with several seeds."""
        for request in requests:
            check_request(request)
        return self._render(requests, progress=progress, batch_size=batch_size)

    @in_turn
    def _render_all(self, requests: Sequence[RenderRequest | ResolvedRequest], *given: Any, **call: Any) -> list[Video]:
        """The videos of `_render`; no other thread uses the model in between."""
        return list(self._render(requests, *given, **call))

    @in_turn
    @torch.inference_mode()
    def _render(
        self,
        requests: Sequence[RenderRequest | ResolvedRequest],
        techniques: Sequence[Technique] = (),
        progress: ProgressCallback | None = None,
        preview_every: int = 0,
        batch_size: int | None = None,
        *,
        all_at_once: bool = False,
    ) -> Iterator[Video]:
        """The videos, batch by batch. all_at_once: by default all are one batch, whatever the device."""
        check_progress(progress)
        check_count("preview_every", preview_every, 0)
        given = check_techniques_given(techniques)
        resolved = [resolved_for(request, self.backbone) for request in requests]
        check_equal_settings(resolved)
        for single in resolved:
            check_memory(single)
        self._log_effects(resolved[0])
        limit = choose_limit(self.backbone, resolved[0], len(resolved), batch_size, all_at_once=all_at_once)

        def render(batch: list[ResolvedRequest], progress: ProgressCallback | None) -> list[Video]:
            if batch[0].is_long:
                return [self._render_in_memory(request, given, progress) for request in batch]
            with self.backbone.adaptation.apply(batch[0].loras, batch[0].embeddings):
                return self._render_batch(batch, given, progress, preview_every)

        return render_batches(resolved, limit, render, progress)

    @in_turn
    @torch.inference_mode()
    def _render_batch(
        self,
        resolved: list[ResolvedRequest],
        given: Sequence[Technique],
        progress: ProgressCallback | None,
        preview_every: int,
    ) -> list[Video]:
        """Clips as one batch."""
        motion = plan_motion(resolved[0], self.backbone)
        use = self._fitter.fit(resolved[0], len(resolved))
        run = Run(self.backbone, resolved, progress, motion, memory=use)
        techniques = [*given, *build_techniques(run.first)]
        try:
            use.begin()
            if motion is not None and not motion.warps() and motion.strength:
                techniques.insert(0, self._dual_clock(run, motion))
            latents, measured = run.sample(techniques, self._previews(preview_every))
            if given:
                measured["techniques"] = [name_of(technique) for technique in given]
            with run.stage("decode"):
                frames = run.decode(latents)
        except OutOfMemoryError as error:
            raise run.save_finished(error) from None
        finally:
            run.close()
            self._fitter.end(use)
            self.backbone.release()
        return [run.video(index, frames[index].cpu(), measured) for index in range(len(resolved))]

    @in_turn
    @torch.inference_mode()
    def decode_latents(self, file: str | PathLike[str], *, vae_tiling: bool = True) -> list[Video]:
        """The videos of latents that were saved when a render ran out of memory (`OutOfMemoryError.latents`).

        vae_tiling: decode in tiles. Raises InputError for another file, and for latents of another model.
        """
        try:
            return decode_saved(self.backbone, read_latents(fspath(file)), fspath(file), vae_tiling=vae_tiling)
        finally:
            self.backbone.release()

    @suggest_keywords
    @in_turn
    def render_long(
        self,
        request: RenderRequest | ResolvedRequest,
        output: str | PathLike[str],
        *,
        quality: int | None = None,
        overwrite: bool = False,
        keep_job: bool = False,
        progress: ProgressCallback | None = None,
    ) -> LongVideo:
        """Render a video of any length into a file, in constant memory.

        Each finished segment is stored in the folder `OUTPUT.job` next to the file. After an interruption the same call
        resumes, and the frames are those of an uninterrupted run. keep_job: do not delete that folder, so that single
        segments can be regenerated. Raises as `generate`: InputError also for continuity='off' and for an
        output that exists; ResumeError where the folder is the job of another request or another process is using it.
        """
        check_request(request)
        check_progress(progress)
        try:
            resolved = resolved_for(request, self.backbone, segmented=True)
            if not resolved.is_long:
                raise InputError("continuity='off' is a single clip, for render(); leave it out, or name a policy")
            self._log_effects(resolved)
            render = partial(
                render_long, self.backbone, resolved, output, quality=quality, overwrite=overwrite, keep_job=keep_job,
                progress=progress,
            )  # fmt: skip
            return render_within_memory(self._fitter, resolved, lambda use: render(measure=use.to_manifest))
        finally:
            self.backbone.release()

    @suggest_keywords
    @in_turn
    def redo(
        self,
        output: str | PathLike[str],
        segment: int,
        *,
        attempt: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> LongVideo:
        """Regenerate one segment of a long video between its neighbours, and write the file again.

        output: the video's file, whose job was retained; segment: from 0; attempt: which other noise, from 1 (None: the
        next one that was not tried). Raises as `render_long`.
        """
        check_progress(progress)
        try:
            change = partial(redo, self.backbone, output, segment, attempt=attempt, progress=progress)
            return change_within_memory(self._fitter, output, lambda use: change(measure=use.to_manifest))
        finally:
            self.backbone.release()

    @suggest_keywords
    @in_turn
    def restore(
        self,
        output: str | PathLike[str],
        segment: int,
        *,
        attempt: int = 0,
        progress: ProgressCallback | None = None,
    ) -> LongVideo:
        """Show an earlier version of a regenerated segment again, and write the file.

        output: the video's file, whose job was retained; segment: from 0; attempt: which version, 0 for the one that
        was rendered first. Raises as `redo`; InputError where that version is not stored.
        """
        check_progress(progress)
        try:
            change = partial(restore, self.backbone, output, segment, attempt=attempt, progress=progress)
            return change_within_memory(self._fitter, output, lambda use: change(measure=use.to_manifest))
        finally:
            self.backbone.release()

    @in_turn
    @torch.inference_mode()
    def _render_in_memory(
        self, request: ResolvedRequest, techniques: Sequence[Technique], progress: ProgressCallback | None
    ) -> Video:
        """A long video as a `Video`: no journal, all frames at once."""
        if techniques:
            raise UnsupportedError(
                "techniques are for a single clip; a long video attaches its own to each segment: use continuity='off'"
            )
        try:
            return render_within_memory(self._fitter, request, lambda use: render_segments(request, use, progress))
        finally:
            self.backbone.release()

    def _dual_clock(self, run: Run, motion: PlannedMotion) -> DualClockTechnique:
        """Dual-clock sampling, with the first frame that is given, or each clip's draft's."""
        first_frame, draft_motion = read_first_frame(motion), None
        if first_frame is not None:
            first_frames = [first_frame] * len(run.requests)
        else:
            draft_motion = plan_draft(motion, run.first, self.backbone)
            with closing(Run(self.backbone, run.requests, run.progress, draft_motion)) as draft:
                latents, _ = draft.sample(build_lora_schedule(run.first))
                run.timings_s["draft"] = sum(draft.timings_s.values())
                first_frames = list(draft.decode_first_frame(latents).cpu().numpy())
        with run.stage("reference"):
            run.motions = [motion.fitted_to(frame, placed=draft_motion is not None) for frame in first_frames]
            return DualClockTechnique(run.motions, first_frames, self.backbone)

    def _log_effects(self, request: ResolvedRequest) -> None:
        """Say before the run which techniques will have no effect on it."""
        for note in effect_notes(expected_no_effect(request, self.backbone)):
            log_note("%s", note)

    def _previews(self, every: int) -> Previews | None:
        if not every:
            return None
        check_technique("previews", self.backbone)
        if self._preview is None:
            self._preview = LatentPreview(self.backbone, DiskCache(PREVIEW))
        return Previews(self._preview, every)
