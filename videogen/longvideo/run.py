"""A long video, segment by segment: each is rendered or read from the journal, stored, decoded, measured and yielded.

What grows with the video's length is the journal on disk and a few figures per segment; all else is one segment's. How
a video is divided: `longvideo.policies`. Into a file: `longvideo.render`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from videogen.backbones.base import Backbone
from videogen.metrics.long_clip import LongClip
from videogen.request.continuity import Continuity
from videogen.request.resolved import ResolvedRequest
from videogen.sampling.checks import Tiling, check_not_flat, memory_errors
from videogen.sampling.progress import Progress, ProgressCallback, report
from videogen.sampling.sample import OnStep, plan_of
from videogen.sampling.step_plan import StepRow
from videogen.techniques.kernel_validation import DECODER, SECTION, validate_component
from videogen.timeline.latent_timeline import LatentTimeline

from .decode_stream import FrameBatch, FrameStream
from .journal.journal import Journal
from .journal.records import SegmentRecord
from .motion import LongMotion
from .policies.build import build_policy
from .segment_memory import SegmentMemory
from .segment_prompts import SegmentPrompts
from .segment_renderer import SegmentRenderer
from .segment_versions import SceneVersions
from .segments import Segment
from .stored_segments import first_to_render, store
from .version_notes import note_other_versions

_NOT_REPORTED = ("memory", "versions", "trial", "follows")  # of a segment's state


@dataclass
class LongRun:
    """A long render. `frames` yields them in order; `measured` is complete once all have been yielded.

    trial: what `policy_trial` found, for the manifest; resumed: how many segments an earlier run had rendered.
    """

    backbone: Backbone
    request: ResolvedRequest
    progress: ProgressCallback | None = None
    trial: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    resumed: int = 0
    kernels: dict[str, Any] = field(default_factory=dict)
    timings_s: dict[str, float] = field(default_factory=lambda: {"denoise": 0.0, "decode": 0.0})
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def about(self) -> dict[str, Any]:
        """What describes the job."""
        return {"geometry": self.backbone.geometry.to_dict()}

    def __post_init__(self) -> None:
        request, geometry = self.request, self.backbone.geometry
        self.timeline: LatentTimeline = request.latent_timeline(geometry)
        self.clip = geometry.shape(request.window, 0, 0)[2]
        self.continuity: Continuity = request.clip_continuity
        self.plan: list[StepRow] = plan_of(self.backbone, request)
        policy = build_policy(self.continuity, self.clip, len(self.plan), self.timeline.latent_map.single_first)
        self.segments = policy.divide(self.timeline)
        self.motion = LongMotion.from_request(request, self.timeline, self.backbone)
        self.noise = policy.noise(self.timeline, self.motion.noise if self.motion else None)
        negative = request.negative_prompt if request.guided else None
        self.prompts = SegmentPrompts(self.backbone, self.timeline, negative)
        latents = (at for shot in self.timeline.shots[1:] for at in {shot.start, shot.start + shot.blend})
        # frames with which colours are new
        self.breaks = sorted(self.timeline.latent_map.frames_of(at).start for at in latents)
        self.meter = LongClip(fps=float(request.fps), window=request.window, frames_per_latent=geometry.temporal)
        self.renderer = SegmentRenderer(
            self.backbone, request, self.timeline, policy, self.noise, self.prompts, self.meter, self.breaks
        )

    @torch.inference_mode()
    def frames(self, journal: Journal | None = None) -> Iterator[np.ndarray]:
        """All frames, uint8 [n, h, w, 3] at a time. Segments that the journal has are not rendered again."""
        stream = FrameStream(self.backbone, self.request.frames, self.breaks)
        self.resumed = first_to_render(self.segments, journal)
        memory, tail, scene = SegmentMemory(), None, SceneVersions((), journal)
        start_s = time.perf_counter()
        for segment in self.segments:
            if segment.first:
                memory, tail, scene = SegmentMemory(), None, SceneVersions.of_scene(self.segments, segment, journal)
            if journal is not None and segment.index < self.resumed:
                record = journal.read(segment.index)
                self.noise.redraw(segment, int(record.state["attempt"]))
            else:
                on_step = self._step_reporter(segment, start_s)
                record = self.renderer.render(segment, memory, tail, stream.last_frame, on_step)
                trial = {"trial": self.trial} if segment.index == 0 and self.trial is not None else {}
                record = replace(record, state={**record.state, **trial, **scene.follows(segment.index)})
                record = record if journal is None else store(record, journal)
            memory = SegmentMemory.from_tensors(record.tensors)
            tail = record.latents if tail is None else torch.cat([tail, record.latents], 2)[:, :, -self.clip :]
            yield from self._decode(stream, segment, scene, record)
        yield from self._measure(stream.finish())

    @property
    def measured(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "continuity": self.continuity.to_dict(),
            "clip_latents": self.clip,
            "segments": self.rows,
            "report": self.meter.report().to_dict() if self.meter.count > 1 else None,
            **({} if self.trial is None else {"trial": self.trial}),
            **({} if self.motion is None else {"motion": self.motion.measured}),
            **({SECTION: self.kernels} if self.kernels else {}),
        }

    def _decode(
        self, stream: FrameStream, segment: Segment, scene: SceneVersions, record: SegmentRecord
    ) -> Iterator[np.ndarray]:
        start_s, first = time.perf_counter(), stream.first_frame(segment, segment.start)
        validated = validate_component(self.backbone, self.request, DECODER, self.kernels)
        with memory_errors("decode"), Tiling(self.backbone, self.request.vae_tiling), validated:
            batches = list(stream.push(segment, scene, record))
        self.timings_s["decode"] += time.perf_counter() - start_s
        self.timings_s["denoise"] += record.state["seconds"]
        reported = {name: value for name, value in record.state.items() if name not in _NOT_REPORTED}
        self.trial = record.state.get("trial", self.trial)
        self.rows.append({"latents": record.latents.shape[2], "first_frame": first, **reported})
        note_other_versions(self.notes, segment.index, record.state["versions"])
        yield from self._measure(batches)

    def _measure(self, batches: Iterable[FrameBatch]) -> Iterator[np.ndarray]:
        for batch in batches:
            if len(batch.frames) >= 8:
                check_not_flat(torch.from_numpy(batch.frames))
            self.meter.add(batch.frames, joins=batch.joins, begins=batch.begins)
            if self.motion is not None:
                self.motion.add(batch.frames)
            yield batch.frames

    def _step_reporter(self, segment: Segment, start_s: float) -> OnStep:
        """Progress over all segments. start_s: when the run began."""

        def on_step(state: Any, steps: int, skipped: int) -> None:
            done, total = segment.index * steps + state.index, len(self.segments) * steps
            elapsed, fresh = time.perf_counter() - start_s, done - self.resumed * steps
            left = elapsed / fresh * (total - done) if fresh > 0 else None
            report(self.progress, Progress("denoise", done, total, elapsed, left))

        return on_step
