"""Rendering of one segment: its noise, prompts and techniques, and further attempts where the result has faults."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from videogen.backbones.base import Backbone
from videogen.core.manifest import collect_versions
from videogen.metrics.long_clip import LongClip
from videogen.request.resolved import ResolvedRequest
from videogen.sampling.checks import check_finite, memory_errors
from videogen.sampling.sample import OnStep, begin, sample
from videogen.sampling.technique import Technique
from videogen.techniques.build import build_techniques
from videogen.techniques.kernel_validation import SECTION
from videogen.timeline.latent_timeline import LatentTimeline

from .continuity_technique import ContinuityTechnique, copying_frames
from .journal.records import SegmentRecord
from .policies.base import ContinuityPolicy, Prefix
from .segment_checks import cross_fade, find_faults
from .segment_memory import SegmentMemory
from .segment_noise import SegmentNoise
from .segment_prompts import SegmentPrompts
from .segments import Segment


@dataclass
class SegmentRenderer:
    """Renders any segment of a video, given what precedes it. request: resolved; meter: of the frames decoded so far;
    breaks: the frames with which colours are new."""

    backbone: Backbone
    request: ResolvedRequest
    timeline: LatentTimeline
    policy: ContinuityPolicy
    noise: SegmentNoise
    prompts: SegmentPrompts
    meter: LongClip
    breaks: list[int]

    def render(
        self,
        segment: Segment,
        memory: SegmentMemory,
        tail: torch.Tensor | None,
        last_frame: np.ndarray | None,
        on_step: OnStep,
    ) -> SegmentRecord:
        """The segment. With `retries`, one that has a visible seam, freezes, drifts or repeats is rendered again with
        other noise; the best attempt is returned.

        memory: of the segment before; tail [1, c, f, h, w]: the scene's last latents; last_frame: the last one decoded.
        """
        best: tuple[tuple[int, float], SegmentRecord] | None = None
        with memory_errors("encode"):
            prefix = self._prefix(segment, tail, last_frame)
        for attempt in range(self.request.retries + 1):
            self.noise.redraw(segment, attempt)
            record = self._render_attempt(segment, memory, prefix, attempt, on_step)
            broken, worst = self._find_faults(segment, tail, record.latents) if self.request.retries else ([], 0.0)
            if best is None or (len(broken), worst) < best[0]:
                state = {**record.state, **({"faults": broken} if broken else {})}
                best = (len(broken), worst), replace(record, state=state)
            if not broken:
                break
        assert best is not None
        self.noise.redraw(segment, int(best[1].state["attempt"]))
        return best[1]

    def _prefix(self, segment: Segment, tail: torch.Tensor | None, last_frame: np.ndarray | None) -> Prefix | None:
        if segment.first:
            return None
        assert tail is not None
        return self.policy.prefix(self.backbone, tail, last_frame)

    def _find_faults(
        self, segment: Segment, tail: torch.Tensor | None, latents: torch.Tensor
    ) -> tuple[list[str], float]:
        first, stop = (
            self.timeline.latent_map.frames_of(segment.scene.video_latent(at)).start
            for at in (segment.start, segment.stop)
        )
        within = any(first <= at < stop for at in self.breaks)
        # a decoder may hold back frames of this segment's shot, so that the meter is still in the one before
        shot_start = max((at for at in self.breaks if at < first), default=-1)
        same_shot = not within and self.meter.count > shot_start
        return find_faults(self.backbone, self.request, segment, tail, latents, self.meter, same_shot=same_shot)

    def _render_attempt(
        self, segment: Segment, memory: SegmentMemory, prefix: Prefix | None, attempt: int, on_step: OnStep
    ) -> SegmentRecord:
        start_s = time.perf_counter()
        with memory_errors("denoise"):
            latents, measured, remembered = self.denoise(segment, memory, prefix, on_step)
        parts = [latents[number : number + 1, :, slot : slot + 1] for number, slot in segment.emitted]
        emitted = torch.cat(parts, 2).cpu()
        if segment.fade and memory.last_latents is not None:
            emitted = cross_fade(memory.last_latents, emitted, inner=segment.fade < self.policy.overlap)
        check_finite(emitted, f"segment {segment.index} (the final latents)", self.backbone.dtype)
        seconds = round(time.perf_counter() - start_s, 3)
        state = {"attempt": attempt, "memory": True, "seconds": seconds, "versions": collect_versions(), **measured}
        return SegmentRecord(segment.index, segment.start, emitted, remembered.to_tensors(), state)

    def denoise(
        self, segment: Segment, memory: SegmentMemory, prefix: Prefix | None, on_step: OnStep
    ) -> tuple[torch.Tensor, dict[str, Any], SegmentMemory]:
        """(latents of the segment's clips [clips, c, f, h, w], what was measured, what the next segment needs)."""
        sources = [self.noise.window(segment, number) for number in range(len(segment.clips))]
        continuity = self.policy.continuity
        tie = ContinuityTechnique(segment, memory, continuity, self.policy.retained_frames)
        given = prefix.frames if prefix else 0
        always_attended = (*range(given), *copying_frames(segment))
        techniques: list[Technique] = [
            tie,
            *([prefix.technique] if prefix else []),
            *build_techniques(self.request, always_attended, per_frame_timesteps=bool(prefix)),
        ]
        text = self.prompts.conditioning(segment, given)
        state = begin(self.backbone, self.request, text, sources, segment.frames, segment.windows)
        with closing(state.clip), self.policy.attach(self.backbone, segment):
            latents, _, measured = sample(self.backbone, state, self.request, techniques, on_step)
        last_latents = latents[-1:, :, -continuity.fade :].cpu() if continuity.fade else None
        return latents, summarize(measured), tie.memory(last_latents)


def summarize(measured: dict[str, Any]) -> dict[str, Any]:
    """A segment's measurements by other techniques, in a few figures each."""
    found: dict[str, Any] = {}
    if "attention" in measured:
        found["attention"] = {name: measured["attention"][name] for name in ("least_recall", "mean_density")}
    if "propagation" in measured:
        values = measured["propagation"]
        found["propagation"] = {name: values[name] for name in ("keys", "estimated_error") if name in values}
    if SECTION in measured:
        found[SECTION] = {name: measured[SECTION][name] for name in ("calls", "wrong")}
    return found
