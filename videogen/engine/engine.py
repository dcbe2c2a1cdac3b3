"""`Engine`: a loaded model and the way from a request to a video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from fractions import Fraction
from os import PathLike
from typing import TYPE_CHECKING, Any, TypedDict, overload

import numpy as np
import torch

from videogen.attention import SparseAttention
from videogen.backbones.base import Backbone
from videogen.backbones.preview import LatentPreview
from videogen.backbones.registry import load
from videogen.core.errors import InputError, UnsupportedError
from videogen.longvideo.policy_trial import settled
from videogen.longvideo.redo import redo
from videogen.longvideo.render import LongVideo, manifest_of, render_long
from videogen.longvideo.run import LongRun
from videogen.media.video import Video
from videogen.motion.spec import Motion
from videogen.propagation import EncoderPropagation
from videogen.request.continuity import Continuity
from videogen.request.request import RenderRequest
from videogen.sampling.checks import memory_errors
from videogen.sampling.progress import ProgressCallback
from videogen.sampling.technique import Technique
from videogen.techniques.build import asked_for
from videogen.techniques.dual_clock import DualClockTechnique
from videogen.techniques.motion_plan import PlannedMotion, first_picture, plan_motion

from .run import Run

if TYPE_CHECKING:
    from typing_extensions import Unpack


class GenerateOptions(TypedDict, total=False):
    """The keywords of `Engine.generate`, for type checkers."""

    frames: int | None
    size: tuple[int, int] | None
    steps: int | None
    guidance_scale: float | None
    seed: int
    solver: str | None
    negative_prompt: str | None
    fps: float | None
    noise: str
    guidance_mode: str | None
    guidance_scale_2: float | None
    vae_tiling: bool
    attention: str | dict[str, Any] | SparseAttention
    propagate: str | dict[str, Any] | EncoderPropagation
    motion: Motion | list[dict[str, Any]] | dict[str, Any] | str | PathLike[str] | None
    motion_strength: float | None
    motion_backend: str | None
    motion_picture: str | PathLike[str] | None
    story: Any
    seconds: float | None
    continuity: str | dict[str, Any] | Continuity | None
    window: int | None
    retries: int
    techniques: Sequence[Technique]
    progress: ProgressCallback | None
    preview_every: int


class Engine:
    """A model, loaded once, that makes videos.

    engine = Engine.load("embedded")
    video = engine.generate("a red ball moves right on a black background", seed=1)
    video.save("ball.mp4")
    """

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self._preview: LatentPreview | None = None

    @classmethod
    def load(
        cls,
        name_or_path: str = "embedded",
        *,
        dtype: str | None = None,
        device: str | None = None,
        offload: str | None = None,
    ) -> Engine:
        """Load an embedded model (`embedded`, `embedded-unet`), a folder in diffusers' layout, or a hub id.

        dtype, device, offload: see `RenderRequest`; None picks the best device, fp32 on a CPU and bf16 elsewhere.
        Raises InputError, CheckpointError, UnsupportedError or OutOfMemoryError.
        """
        with memory_errors("load"):
            return cls(load(str(name_or_path), dtype=dtype, device=device, offload=offload))

    @overload
    def generate(self, prompt: str = "", **options: Unpack[GenerateOptions]) -> Video: ...

    @overload
    def generate(self, prompt: list[str] | tuple[str, ...], **options: Unpack[GenerateOptions]) -> list[Video]: ...

    def generate(
        self,
        prompt: str | list[str] | tuple[str, ...] = "",
        *,
        frames: int | None = None,
        size: tuple[int, int] | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int = 0,
        solver: str | None = None,
        negative_prompt: str | None = None,
        fps: float | None = None,
        noise: str = "addressed",
        guidance_mode: str | None = None,
        guidance_scale_2: float | None = None,
        vae_tiling: bool = False,
        attention: str | dict[str, Any] | SparseAttention = "dense",
        propagate: str | dict[str, Any] | EncoderPropagation = "off",
        motion: Motion | list[dict[str, Any]] | dict[str, Any] | str | PathLike[str] | None = None,
        motion_strength: float | None = None,
        motion_backend: str | None = None,
        motion_picture: str | PathLike[str] | None = None,
        story: Any = None,
        seconds: float | None = None,
        continuity: str | dict[str, Any] | Continuity | None = None,
        window: int | None = None,
        retries: int = 0,
        techniques: Sequence[Technique] = (),
        progress: ProgressCallback | None = None,
        preview_every: int = 0,
    ) -> Video | list[Video]:
        """Make a video, or one for each of several prompts in one batch (the i-th with seed + i).

        frames: count; size: (width, height) in px; None: as the model has it. solver: a name of
        `videogen.schedulers.solver_names()`, None: the checkpoint's own. attention: `dense`, `adaptive`,
        `adaspa:SPARSITY`, or a `videogen.attention.SparseAttention`, also as a dict. propagate: `off`, `max_error:E`,
        `fd`, `every:N`, `deepcache:N`, a cache of diffusers such as `first-block:0.08`, or a
        `videogen.propagation.EncoderPropagation`, also as a dict. motion: how things or the camera move, such as
        `Drag((32, 32, 10), [(12, 32), (50, 32)])`, see `videogen.motion`; motion_strength, motion_backend and
        motion_picture: see `RenderRequest`. story, seconds, continuity, window, retries: longer than the model's own
        clip, see there and `render_long`, which writes to a file as it goes. preview_every: steps between previews in
        `progress`, 0 for none. Errors name the value and what to do: InputError, UnsupportedError, NumericsError,
        OutOfMemoryError; Cancelled where `progress` returned False.
        """
        prompts = _prompts(prompt)
        width, height = _sides(size)
        requests = [
            RenderRequest(
                prompt=text, negative_prompt=negative_prompt, frames=frames, width=width, height=height,
                steps=steps, guidance_scale=guidance_scale, guidance_scale_2=guidance_scale_2,
                seed=seed + i, solver=solver, fps=fps, noise=noise, guidance_mode=guidance_mode, vae_tiling=vae_tiling,
                attention=_words("attention", attention), propagate=_words("propagate", propagate),
                motion=motion, motion_strength=motion_strength, motion_backend=motion_backend, motion_picture=motion_picture,
                story=story, seconds=seconds, continuity=continuity, window=window, retries=retries,
            )
            for i, text in enumerate(prompts)
        ]  # fmt: skip
        videos = self._render(requests, techniques, progress, preview_every)
        return videos[0] if isinstance(prompt, str) else videos

    def render(
        self,
        request: RenderRequest,
        *,
        techniques: Sequence[Technique] = (),
        progress: ProgressCallback | None = None,
        preview_every: int = 0,
    ) -> Video:
        """Make the video of one request; `generate` in one object, as a file or manifest holds it."""
        return self._render([request], techniques, progress, preview_every)[0]

    @torch.inference_mode()
    def _render(
        self,
        requests: list[RenderRequest],
        techniques: Sequence[Technique],
        progress: ProgressCallback | None,
        preview_every: int,
    ) -> list[Video]:
        if not requests:
            return []
        resolved = [r.resolve(self.backbone) for r in requests]
        if resolved[0].is_long:
            return [self._long_in_memory(request, techniques, progress) for request in resolved]
        motion = plan_motion(resolved[0], self.backbone)
        run = Run(self.backbone, resolved, progress, motion)
        techniques = [*techniques, *asked_for(run.first)]
        try:
            if motion is not None and not motion.warps() and motion.strength:
                pictures = self._first_pictures(run, motion)
                techniques.insert(
                    0, run.stage("reference", lambda: DualClockTechnique(motion, pictures, self.backbone))
                )
            latents, measured = self._latents(run, techniques, preview_every)
            frames = run.stage("decode", lambda: run.decode(latents))
        finally:
            self.backbone.release()
        return [run.video(i, frames[i].cpu(), measured) for i in range(len(requests))]

    def render_long(
        self,
        request: RenderRequest,
        output: str | PathLike[str],
        *,
        quality: int | None = None,
        overwrite: bool = False,
        keep_job: bool = False,
        progress: ProgressCallback | None = None,
    ) -> LongVideo:
        """Make a video of any length straight into a file, in memory that does not grow with it.

        Each finished segment is kept in `OUTPUT.job` beside the file: the same call goes on after a kill, and the frames
        are those of an uninterrupted run. keep_job: keep that folder, so that single segments can be made again. Raises
        as `generate`, and ResumeError where the folder is the job of another request or another process is at it.
        """
        try:
            resolved = request.resolve(self.backbone)
            if not resolved.is_long:
                if request.continuity == "off":
                    raise InputError(
                        "continuity='off' is one clip, which render() makes; leave it out here, or name a policy"
                    )
                resolved = replace(request, continuity="replay").resolve(self.backbone)  # a long video of one segment
            return render_long(
                self.backbone,
                resolved,
                output,
                quality=quality,
                overwrite=overwrite,
                keep_job=keep_job,
                progress=progress,
            )
        finally:
            self.backbone.release()

    def redo(
        self,
        output: str | PathLike[str],
        segment: int,
        *,
        attempt: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> LongVideo:
        """Make one segment of a long video again, between its neighbours, and write the video anew: see `engine.redo`."""
        try:
            return redo(self.backbone, output, segment, attempt=attempt, progress=progress)
        finally:
            self.backbone.release()

    def _long_in_memory(
        self, request: RenderRequest, techniques: Sequence[Technique], progress: ProgressCallback | None
    ) -> Video:
        """A long video as a `Video`: no journal, all frames at once."""
        if techniques:
            raise UnsupportedError(
                "techniques are for one clip; a long video attaches its own to each segment: use continuity='off'"
            )
        try:
            request, trial = settled(self.backbone, request, progress)
            run = LongRun(self.backbone, request, progress, trial)
            frames = np.concatenate(list(run.frames()))
        finally:
            self.backbone.release()
        assert request.fps
        return Video(frames, Fraction(request.fps).limit_denominator(1001), manifest_of(run, {}).to_dict())

    def _latents(
        self, run: Run, techniques: Sequence[Technique], preview_every: int
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        text = run.stage("encode", lambda: run.encode_text())
        return run.stage("denoise", lambda: run.denoise(text, techniques, preview_every, self._make_preview))  # type: ignore[no-any-return]

    def _first_pictures(self, run: Run, motion: PlannedMotion) -> list[np.ndarray]:
        """Each clip's first frame, uint8 [height, width, 3]: the picture that is named, or a plain render's."""
        named = first_picture(run.first, motion.plan)
        if named is not None:
            return [named] * len(run.requests)
        plain = Run(self.backbone, run.requests, run.progress)
        latents, _ = self._latents(plain, (), 0)
        run.timings_s["draft"] = sum(plain.timings_s.values())
        return list(plain.decode(latents[:, :, :1]).cpu().numpy()[:, 0])

    def _make_preview(self) -> LatentPreview:
        if self._preview is None:
            self._preview = LatentPreview(self.backbone)
        return self._preview


def _sides(size: tuple[int, int] | None) -> tuple[int | None, int | None]:
    if size is None:
        return None, None
    try:
        width, height = size
    except (TypeError, ValueError):
        raise InputError(f"size={size!r} must be (width, height) in px, such as (832, 480)") from None
    return width, height


def _words(name: str, asked: object) -> str | dict[str, Any]:
    """A technique's configuration as a request holds it."""
    if isinstance(asked, SparseAttention | EncoderPropagation):
        return asdict(asked)
    if not isinstance(asked, str | dict):
        raise InputError(f"{name}={asked!r} must be a word, a configuration object, or a dict of its fields")
    return asked


def _prompts(prompt: object) -> list[str]:
    texts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"prompt={prompt!r} must be a text or a list of texts")
    return list(texts)
