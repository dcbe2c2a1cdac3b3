"""A long video, segment by segment: each is made (or read from the journal), kept, decoded, judged and handed on.

What grows with the video's length is the journal on disk and a few figures a segment; the rest is one segment's. Which
segments there are: `longvideo.segments`. Into a file: `long_render`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from videogen.backbones.base import Backbone
from videogen.core.errors import MediaError
from videogen.core.manifest import collect_versions
from videogen.longvideo.journal.journal import Journal
from videogen.longvideo.journal.records import Chunk
from videogen.longvideo.segment_noise import StoryNoise
from videogen.longvideo.segment_prompts import StoryPrompts
from videogen.longvideo.segments import Segment, segments
from videogen.metrics.long_clip import LongClip
from videogen.request.continuity import Continuity
from videogen.request.resolved import ResolvedRequest
from videogen.sampling.checks import Tiling, check_finite, check_not_flat, memory_errors
from videogen.sampling.progress import Progress, ProgressCallback, report
from videogen.sampling.sample import begin, plan_of, sample
from videogen.sampling.step_plan import StepRow
from videogen.sampling.technique import Technique
from videogen.techniques.build import asked_for
from videogen.techniques.fixed_latents import CleanPrefix
from videogen.techniques.window_attention import attach_window_attention
from videogen.timeline.latent_timeline import LatentTimeline

from .continuity_technique import ContinuityTechnique, Memory, kept_in_attention
from .decode_stream import FrameStream, Part
from .motion import LongMotion
from .segment_checks import faded, faults

_LAST, _EVERY = 2, 8  # chunks that keep what the next needs: the last ones, and of the others every so many


@dataclass
class LongRun:
    """request: resolved, of a long video. `frames` yields them in order; `measured` is whole once they are all there.

    trial: what `long_trial` found, for the manifest.
    """

    backbone: Backbone
    request: ResolvedRequest
    progress: ProgressCallback | None = None
    trial: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    made_from: int = 0
    timings_s: dict[str, float] = field(default_factory=lambda: {"denoise": 0.0, "decode": 0.0})
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        request, geometry = self.request, self.backbone.geometry
        self.shown: LatentTimeline = request.latent_timeline(geometry)
        self.clip = geometry.shape(request.window, 0, 0)[2]
        self.continuity: Continuity = request.clip_continuity
        self.plan: list[StepRow] = plan_of(self.backbone, request)
        self.segments = segments(self.shown, self.continuity, self.clip, len(self.plan))
        self.motion = LongMotion.of(request, self.shown, self.backbone)
        self.noise = StoryNoise(self.shown, self.continuity, self.clip, self.motion.noise if self.motion else None)
        self.prompts = StoryPrompts(self.backbone, self.shown, request.negative_prompt if request.guided else None)
        latents = (at for shot in self.shown.shots[1:] for at in {shot.start, shot.start + shot.blend})
        self.breaks = sorted(
            self.shown.latent_map.frames_of(at).start for at in latents
        )  # frames with which colours are new
        self.meter = LongClip(fps=float(request.fps), window=request.window, beat=geometry.temporal)

    @torch.inference_mode()
    def frames(self, journal: Journal | None = None) -> Iterator[np.ndarray]:
        """All frames, uint8 [n, h, w, 3] at a time. What the journal holds is not made again."""
        stream, self.made_from = (
            FrameStream(self.backbone, self.request.frames, self.breaks),
            self._first_to_make(journal),
        )
        memory, tail = Memory(), None
        self._begun = time.perf_counter()
        for segment in self.segments:
            if segment.first:
                memory, tail = Memory(), None
            if journal is not None and segment.index < self.made_from:
                chunk = journal.read(segment.index)
                self.noise.redraw(segment, int(chunk.state["attempt"]))
            else:
                chunk = self._kept(journal, self._make(segment, memory, tail, stream.last))
            memory = Memory(**chunk.tensors)
            tail = chunk.latents if tail is None else torch.cat([tail, chunk.latents], 2)[:, :, -self.clip :]
            yield from self._decoded(stream, segment, chunk)
        yield from self._judged(stream.finish())

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
        }

    def _first_to_make(self, journal: Journal | None) -> int:
        """The first segment that is not done, or whose forerunner's memory was let go (a later chunk was damaged)."""
        index = done = 0 if journal is None else min(len(journal), len(self.segments))
        while (
            journal is not None
            and 0 < index < len(self.segments)
            and not self.segments[index].first
            and not journal.state(index - 1)["memory"]
        ):
            index -= 1
        if journal is not None and index < done:
            journal.note(
                f"to go on, what segments {index} to {done - 1} leave to the next is made once more; their latents stay"
            )
        return index

    def _make(self, segment: Segment, memory: Memory, tail: torch.Tensor | None, last: np.ndarray | None) -> Chunk:
        """The segment; where a seam shows, or it stands still, strays or repeats, again with other noise, as often as
        allowed: the best is taken."""
        best: tuple[tuple[int, float], Chunk] | None = None
        with memory_errors("encode"):
            prefix = self._prefix(segment, tail, last)
        for attempt in range(self.request.retries + 1):
            self.noise.redraw(segment, attempt)
            chunk = self._sampled(segment, memory, prefix, attempt)
            broken, worst = self._faults(segment, tail, chunk.latents) if self.request.retries else ([], 0.0)
            if best is None or (len(broken), worst) < best[0]:
                best = (
                    (len(broken), worst),
                    replace(chunk, state={**chunk.state, **({"faults": broken} if broken else {})}),
                )
            if not broken:
                break
        assert best is not None
        self.noise.redraw(segment, int(best[1].state["attempt"]))
        return best[1]

    def _faults(self, segment: Segment, tail: torch.Tensor | None, made: torch.Tensor) -> tuple[list[str], float]:
        first, stop = (
            self.shown.latent_map.frames_of(segment.scene.video_latent(at)).start
            for at in (segment.start, segment.stop)
        )
        within = any(first <= at < stop for at in self.breaks)
        begun = max(
            (at for at in self.breaks if at < first), default=-1
        )  # a decoder may hold back frames of this segment's shot
        return faults(
            self.backbone,
            self.request,
            segment,
            tail,
            made,
            self.meter,
            same_shot=not within and self.meter.count > begun,
        )

    def _sampled(self, segment: Segment, memory: Memory, prefix: CleanPrefix | None, attempt: int) -> Chunk:
        sources = [self.noise.of(segment, number) for number in range(len(segment.clips))]
        begun = time.perf_counter()
        with memory_errors("denoise"):
            latents, measured, remembered = self._denoise(segment, memory, prefix, sources)
        parts = [latents[number : number + 1, :, slot : slot + 1] for number, slot in segment.emitted]
        emitted = torch.cat(parts, 2).cpu()
        if segment.fade and memory.kept is not None:
            emitted = faded(memory.kept, emitted, inner=segment.fade < (self.continuity.overlap or 0))
        check_finite(emitted, f"segment {segment.index} (the final latents)", self.backbone.dtype)
        seconds = round(time.perf_counter() - begun, 3)
        state = {"attempt": attempt, "memory": True, "seconds": seconds, "versions": collect_versions(), **measured}
        if segment.index == 0 and self.trial is not None:
            state["trial"] = self.trial
        return Chunk(segment.index, segment.start, emitted, remembered.tensors(), state)

    def _denoise(
        self, segment: Segment, memory: Memory, prefix: CleanPrefix | None, sources: list[Any]
    ) -> tuple[torch.Tensor, dict[str, Any], Memory]:
        request, policy = self.request, self.continuity
        state = begin(self.backbone, request, sources, segment.frames, segment.windows)
        overlap = policy.overlap or 0
        copied = policy.policy in ("replay", "look_back", "co_denoise", "window_attention")
        tie = ContinuityTechnique(segment, memory, policy.pull, overlap if copied else 0)
        finished = prefix.frames if prefix else 0
        seen = (*range(finished), *kept_in_attention(segment))
        techniques: list[Technique] = [
            tie,
            *([prefix] if prefix else []),
            *asked_for(request, seen, frames_apart=bool(prefix)),
        ]
        text = self.prompts.of(segment, finished)
        with self._patched(segment):
            latents, _, measured = sample(self.backbone, state, request, text, techniques, self._told(segment))
        kept = latents[-1:, :, -policy.fade :].cpu() if policy.fade else None
        return latents, shortened(measured), tie.memory(kept)

    def _prefix(self, segment: Segment, tail: torch.Tensor | None, last: np.ndarray | None) -> CleanPrefix | None:
        """What a clip begins with that is told to be clean, of the scene's last latents or of its last frame."""
        if segment.first or self.continuity.policy not in ("clean_prefix", "i2v_prefix"):
            return None
        if self.continuity.policy == "clean_prefix":
            assert tail is not None and self.continuity.overlap
            return CleanPrefix(tail[:, :, -self.continuity.overlap :])
        assert last is not None
        return CleanPrefix(self.backbone.encode(torch.from_numpy(last.copy())[None, None]))

    def _patched(self, segment: Segment) -> Any:
        """Temporal attention in windows, where that is the policy."""
        if self.continuity.policy != "window_attention" or segment.frames <= self.clip:
            return nullcontext()
        return attach_window_attention(self.backbone, self.clip, self.continuity.overlap or 0)

    def _kept(self, journal: Journal | None, chunk: Chunk) -> Chunk:
        """The chunk as the journal keeps it; one that was there keeps its latents, which may have been redone."""
        if journal is None:
            return chunk
        if chunk.index < len(journal):
            old = journal.read(chunk.index)
            chunk = replace(chunk, latents=old.latents, state={**old.state, "memory": True})
            journal.replace(chunk)
        else:
            journal.append(chunk)
        let_go = chunk.index - _LAST
        if let_go >= 0 and let_go % _EVERY and journal.state(let_go)["memory"]:
            kept = journal.read(let_go)
            if kept.tensors:
                with suppress(MediaError):  # a full disk: the memory stays
                    journal.replace(replace(kept, tensors={}, state={**kept.state, "memory": False}))
        return chunk

    def _decoded(self, stream: FrameStream, segment: Segment, chunk: Chunk) -> Iterator[np.ndarray]:
        begun, first = time.perf_counter(), stream.frame_of(segment, segment.start)
        with memory_errors("decode"), Tiling(self.backbone, self.request.vae_tiling):
            found = list(stream.push(segment, chunk.latents.to(self.backbone.device)))
        self.timings_s["decode"] += time.perf_counter() - begun
        self.timings_s["denoise"] += chunk.state["seconds"]
        told = {name: value for name, value in chunk.state.items() if name not in ("memory", "versions", "trial")}
        self.trial = chunk.state.get("trial", self.trial)
        self.rows.append({"latents": chunk.latents.shape[2], "first_frame": first, **told})
        self._compare(segment, chunk.state["versions"])
        yield from self._judged(found)

    def _compare(self, segment: Segment, versions: dict[str, str]) -> None:
        """Note where a segment was made by other versions than these, once."""
        now = collect_versions()
        other = [
            f"{name} {was} (now {now.get(name, 'gone')})" for name, was in versions.items() if now.get(name) != was
        ]
        if other and not self.notes:
            self.notes.append(
                f"segment {segment.index} was made with {', '.join(other)}: where it joins the later ones, frames may differ"
            )

    def _judged(self, parts: Iterable[Part]) -> Iterator[np.ndarray]:
        for part in parts:
            if len(part.frames) >= 8:
                check_not_flat(torch.from_numpy(part.frames))
            self.meter.add(part.frames, joins=part.joins, begins=part.begins)
            if self.motion is not None:
                self.motion.add(part.frames)
            yield part.frames

    def _told(self, segment: Segment) -> Callable[[Any, int, int], None]:
        def told(state: Any, steps: int, skipped: int) -> None:
            done, whole = segment.index * steps + state.index, len(self.segments) * steps
            elapsed, fresh = time.perf_counter() - self._begun, done - self.made_from * steps
            left = elapsed / fresh * (whole - done) if fresh > 0 else None
            report(self.progress, Progress("denoise", done, whole, elapsed, left))

        return told


def shortened(measured: dict[str, Any]) -> dict[str, Any]:
    """A segment's measurements by other techniques, in a line each."""
    found: dict[str, Any] = {}
    if "attention" in measured:
        found["attention"] = {name: measured["attention"][name] for name in ("least_recall", "mean_density")}
    if "propagation" in measured:
        told = measured["propagation"]
        found["propagation"] = {name: told[name] for name in ("keys", "estimated_error") if name in told}
    return found
