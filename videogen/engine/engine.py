"""`Engine`: a loaded model and the way from a request to a video."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from typing import Any, overload

import torch

from videogen.attention import SparseAttention
from videogen.backbones.base import Backbone, Conditioning
from videogen.backbones.preview import LatentPreview
from videogen.backbones.registry import load
from videogen.core.manifest import Manifest, collect_versions
from videogen.media.video import Video
from videogen.schedulers.noise import AddressedNoise, DiffusersNoise, NoiseSource
from videogen.schedulers.solvers import make_solver

from .attention import SparseAttentionTechnique
from .events import Progress, ProgressCallback, report
from .guards import check_finite, check_not_black, memory_errors
from .loop import LoopState, denoise
from .plan import StepRow, make_plan
from .request import RenderRequest
from .techniques import Technique


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
    def generate(self, prompt: str, **options: Any) -> Video: ...

    @overload
    def generate(self, prompt: Sequence[str], **options: Any) -> list[Video]: ...

    def generate(  # type: ignore[misc]  # the overloads stand for these very keywords
        self,
        prompt: str | Sequence[str],
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
        guidance: str | None = None,
        guidance_scale_2: float | None = None,
        vae_tiling: bool = False,
        attention: str | SparseAttention = "dense",
        techniques: Sequence[Technique] = (),
        progress: ProgressCallback | None = None,
        preview_every: int = 0,
    ) -> Video | list[Video]:
        """Make a video, or one for each of several prompts in one batch (the i-th with seed + i).

        frames: count; size: (width, height) in px; None: as the model has it. solver: a name of
        `videogen.schedulers.solver_names()`, None: the checkpoint's own. attention: `dense`, `adaptive`,
        `adaspa:SPARSITY`, or a `videogen.attention.SparseAttention`. preview_every: steps between previews in
        `progress`, 0 for none. Errors name the value and what to do: InputError, UnsupportedError, NumericsError,
        OutOfMemoryError; Cancelled where `progress` returned False.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        width, height = size or (None, None)
        requests = [
            RenderRequest(
                prompt=text, negative_prompt=negative_prompt, model=self.backbone.name, frames=frames, width=width,
                height=height, steps=steps, guidance_scale=guidance_scale, guidance_scale_2=guidance_scale_2,
                seed=seed + i, solver=solver, fps=fps, noise=noise, guidance=guidance, vae_tiling=vae_tiling,
                attention=attention if isinstance(attention, str) else asdict(attention),
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
        run = _Run(self.backbone, [r.resolve(self.backbone) for r in requests], progress)
        sparse = requests[0].sparse_attention()
        if sparse is not None:
            techniques = [*techniques, SparseAttentionTechnique(sparse)]  # innermost: it must see every model call
        try:
            text = run.stage("encode", lambda: run.encode_text())
            latents, measured = run.stage(
                "denoise", lambda: run.denoise(text, techniques, preview_every, self._make_preview)
            )
            frames = run.stage("decode", lambda: run.decode(latents))
        finally:
            self.backbone.release()
        return [run.video(i, frames[i].cpu(), measured) for i in range(len(requests))]

    def _make_preview(self) -> LatentPreview:
        if self._preview is None:
            self._preview = LatentPreview(self.backbone)
        return self._preview


@dataclass
class _Run:
    """One batch on its way through the stages."""

    backbone: Backbone
    requests: list[RenderRequest]
    progress: ProgressCallback | None
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
        assert self.first.guidance_scale is not None
        guided = max(self.first.guidance_scale, self.first.guidance_scale_2 or 0) > 1
        negatives = [r.negative_prompt or "" for r in self.requests] if guided else None
        return self.backbone.encode_prompt([r.prompt for r in self.requests], negatives)

    def denoise(
        self,
        text: Conditioning,
        techniques: Sequence[Technique],
        preview_every: int,
        make_preview: Callable[[], LatentPreview],
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        state = self._start()
        self.plan = make_plan(self.backbone, state.solver, self.first)
        preview = make_preview() if preview_every else None
        begun = time.perf_counter()
        report(self.progress, Progress("denoise", 0, len(self.plan), 0.0))
        measured: dict[str, Any] = {}
        try:
            for technique in techniques:
                technique.begin(self.backbone, self.plan, state)
            mode = self.first.guidance or self.backbone.native_guidance
            for state in denoise(self.backbone, state, self.plan, text, mode, techniques):  # noqa: B020
                elapsed = time.perf_counter() - begun
                left = elapsed / state.index * (len(self.plan) - state.index)
                picture = preview(state.latents) if preview and state.index % preview_every == 0 else None
                report(self.progress, Progress("denoise", state.index, len(self.plan), elapsed, left, picture))
        finally:
            for technique in reversed(techniques):
                measured.update(technique.end())
        return state.latents, measured

    def _start(self) -> LoopState:
        request = self.first
        assert request.frames and request.height and request.width and request.steps
        solver = make_solver(request.solver, self.backbone.scheduler)
        solver.set_timesteps(request.steps, device=self.backbone.device)
        _, channels, count, height, width = self.backbone.geometry.shape(request.frames, request.height, request.width)
        sources: list[NoiseSource] = [
            DiffusersNoise(r.seed) if r.noise == "diffusers" else AddressedNoise(r.seed) for r in self.requests
        ]
        noise = torch.cat([source.frames(range(count), (channels, height, width)) for source in sources])
        return LoopState(self.backbone.start(noise, solver), 0, solver, sources)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """uint8 [batch, frame, height, width, 3]: round(255 x)."""
        with _Tiling(self.backbone, self.first.vae_tiling):
            pixels = self.backbone.decode(latents)
        check_finite(pixels, "decode", self.backbone.dtype)
        frames = (pixels * 255).round().to(torch.uint8)
        for clip in frames:
            check_not_black(clip)
        return frames

    def video(self, index: int, frames: torch.Tensor, measured: dict[str, Any]) -> Video:
        request = replace(self.requests[index], device=str(self.backbone.device), dtype=str(self.backbone.dtype).removeprefix("torch."))
        manifest = Manifest(
            request=request.to_dict(),
            model={"name": self.backbone.name, "family": self.backbone.family, "hash": self.backbone.digest},
            versions=collect_versions(),
            plan=[row.to_dict() for row in self.plan],
            measured=measured,
            timings_s={name: round(seconds, 4) for name, seconds in self.timings_s.items()},
        )
        assert request.fps
        return Video(frames.numpy(), Fraction(request.fps).limit_denominator(1001), manifest.to_dict())


class _Tiling:
    """The VAE decodes in tiles within this block, where asked."""

    def __init__(self, backbone: Backbone, on: bool) -> None:
        self._vae: Any = backbone.components().get("vae") if on else None

    def __enter__(self) -> None:
        if self._vae is not None:
            self._vae.enable_tiling()

    def __exit__(self, *_: object) -> None:
        if self._vae is not None:
            self._vae.disable_tiling()
