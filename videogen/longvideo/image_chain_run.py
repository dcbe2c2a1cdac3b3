"""A long video of clips that each begin with an image: clip after clip by the pipeline's own call, read from the
journal where it is done, measured and yielded.

How it is divided: `request.image_chain`. The journal has the frames of each clip, since a pipeline decodes its latents
itself; the last one is the next clip's first image.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from videogen.backbones.base import Backbone
from videogen.core.errors import UnsupportedError
from videogen.core.manifest import collect_versions
from videogen.metrics.long_clip import LongClip
from videogen.request.image_chain import ChainClip, clip_conditions, divide_chain, find_keyframes
from videogen.request.resolved import ResolvedRequest
from videogen.sampling.checks import Tiling, check_finite, check_not_flat, memory_errors
from videogen.sampling.condition_reading import read_conditions, record_of
from videogen.sampling.progress import Progress, ProgressCallback, report
from videogen.sampling.sample import OnStep, begin, plan_of, sample
from videogen.sampling.step_plan import StepRow
from videogen.schedulers.noise.source import AddressedNoise, DiffusersNoise
from videogen.techniques.build import build_techniques
from videogen.timeline.latent_timeline import LatentTimeline

from .journal.journal import Journal
from .journal.records import SegmentRecord
from .segment_renderer import summarize
from .version_notes import note_other_versions

_NOT_REPORTED = ("memory", "versions")  # of a clip's state


@dataclass
class ImageChainRun:
    """A long render, with the attributes of `run.LongRun`. `frames` yields them in order; `measured` is complete once
    all have been yielded."""

    backbone: Backbone
    request: ResolvedRequest
    progress: ProgressCallback | None = None
    notes: list[str] = field(default_factory=list)
    resumed: int = 0
    timings_s: dict[str, float] = field(default_factory=lambda: {"denoise": 0.0, "decode": 0.0})
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        request, geometry = self.request, self.backbone.geometry
        self.timeline: LatentTimeline = request.latent_timeline(geometry)
        self.plan: list[StepRow] = plan_of(self.backbone, request)
        self.segments = divide_chain(request, geometry.frame_map)
        self.keyframes = find_keyframes(request.conditions, request.frames)
        self.meter = LongClip(fps=float(request.fps), window=request.window, frames_per_latent=geometry.temporal)
        self.conditions = [record_of(*one) for one in request.conditions.items()]

    @torch.inference_mode()
    def frames(self, journal: Journal | None = None) -> Iterator[np.ndarray]:
        """All frames, uint8 [n, h, w, 3], a clip's at a time. Clips that the journal has are not rendered again."""
        self.resumed = 0 if journal is None else min(len(journal), len(self.segments))
        last_frame: np.ndarray | None = None
        started = time.perf_counter()
        for clip in self.segments:
            if journal is not None and clip.index < self.resumed:
                record = journal.read(clip.index)
            else:
                record = self._render(clip, last_frame, self._step_reporter(clip, started))
                if journal is not None:
                    journal.append(record)
            frames = record.latents[0].permute(1, 2, 3, 0).contiguous().numpy()
            last_frame = frames[-1]
            self._measure(clip, record, frames)
            yield frames

    @property
    def about(self) -> dict[str, Any]:
        """What describes the job; starts: the frame with which each clip begins."""
        return {"geometry": self.backbone.geometry.to_dict(), "starts": [clip.start for clip in self.segments]}

    @property
    def measured(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "continuity": self.request.clip_continuity.to_dict(),
            "clip_latents": self._latents(self.request.window),
            "segments": self.rows,
            "report": self.meter.report().to_dict() if self.meter.count > 1 else None,
        }

    def _render(self, clip: ChainClip, last_frame: np.ndarray | None, on_step: OnStep) -> SegmentRecord:
        """A clip, as it would be rendered alone from its images with its seed."""
        started = time.perf_counter()
        request = replace(
            self.request, prompt=clip.prompt, seed=clip.seed, frames=clip.frames, generated_frames=clip.frames,
            continuity="off", conditions=clip_conditions(self.request, clip, self.keyframes, last_frame),
        )  # fmt: skip
        negatives = [request.negative_prompt] if request.guided else None
        with memory_errors("encode"):
            given = read_conditions(request, self.backbone).given
            text = self.backbone.condition([clip.prompt], negatives)
        noise = DiffusersNoise(clip.seed) if request.noise == "diffusers" else AddressedNoise(clip.seed)
        with memory_errors("denoise"):
            state = begin(self.backbone, request, text, [noise], given=given)
        with closing(state.clip):
            with memory_errors("denoise"):
                latents, _, measured = sample(self.backbone, state, request, build_techniques(request), on_step)
            check_finite(latents, f"segment {clip.index} (the final latents)", self.backbone.dtype)
            denoised = time.perf_counter()
            with memory_errors("decode"), Tiling(self.backbone, request.vae_tiling):
                pixels = state.clip.decode(latents)
        check_finite(pixels, "decode", self.backbone.dtype)
        frames = self._emitted(clip, (pixels[0] * 255).round().to(torch.uint8).cpu())
        self.timings_s["decode"] += time.perf_counter() - denoised
        seconds = round(denoised - started, 3)
        stored = {"attempt": 0, "memory": True, "seconds": seconds, "versions": collect_versions(), "seed": clip.seed}
        return SegmentRecord(clip.index, clip.start, frames, {}, {**stored, **summarize(measured)})

    def _emitted(self, clip: ChainClip, frames: torch.Tensor) -> torch.Tensor:
        """The frames [1, 3, f, h, w] that a clip adds to the video, of all that it has [f, h, w, 3]."""
        if len(frames) != clip.frames:
            raise UnsupportedError(
                f"{self.backbone.name!r} made {len(frames)} frames, not {clip.frames}: its pipeline has a rule of its "
                "own, by which clips cannot be joined; render a single clip: continuity='off'"
            )
        check_not_flat(frames)
        return frames[clip.start - clip.begin : clip.stop - clip.begin].permute(3, 0, 1, 2)[None].contiguous()

    def _measure(self, clip: ChainClip, record: SegmentRecord, frames: np.ndarray) -> None:
        self.timings_s["denoise"] += record.state["seconds"]
        reported = {name: value for name, value in record.state.items() if name not in _NOT_REPORTED}
        self.rows.append({"latents": self._latents(clip.frames), "first_frame": clip.start, **reported})
        note_other_versions(self.notes, clip.index, record.state["versions"])
        self.meter.add(frames, joins=not clip.cut, begins=clip.cut and clip.index > 0)

    def _latents(self, frames: int) -> int:
        """Latent frames of a clip of so many frames."""
        return self.backbone.geometry.shape(frames, 0, 0)[2]

    def _step_reporter(self, clip: ChainClip, started: float) -> OnStep:
        """Progress over all clips. started: when the run began."""

        def on_step(state: Any, steps: int, skipped: int) -> None:
            done, total = clip.index * steps + state.index, len(self.segments) * steps
            elapsed, fresh = time.perf_counter() - started, done - self.resumed * steps
            left = elapsed / fresh * (total - done) if fresh > 0 else None
            report(self.progress, Progress("denoise", done, total, elapsed, left))

        return on_step
