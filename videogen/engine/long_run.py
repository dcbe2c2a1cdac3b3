"""A long video, piece by piece: each is made (or read from the journal), kept, decoded, judged and handed on.

What grows with the video's length is the journal on disk and a few figures a piece; the rest is one piece's. Which pieces there
are: `longvideo.pieces`. Into a file: `long_render`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from videogen.backbones.base import Backbone
from videogen.longvideo.continuity import Continuity
from videogen.longvideo.journal import Journal
from videogen.longvideo.latent_timeline import LatentTimeline
from videogen.longvideo.pieces import Piece, pieces
from videogen.longvideo.records import Chunk
from videogen.longvideo.story_noise import StoryNoise
from videogen.longvideo.story_prompts import StoryPrompts
from videogen.longvideo.window_attention import attach_window_attention
from videogen.metrics.long_clip import LongClip
from videogen.metrics.seams import Seam, least, reach, seam

from .asked import asked_for
from .continuity import CleanPrefix, ContinuityTechnique, Memory, kept_in_attention
from .events import Progress, ProgressCallback, report
from .guards import check_finite, check_not_flat, memory_errors
from .long_frames import FrameStream
from .long_motion import warped_streams
from .plan import StepRow
from .request import RenderRequest
from .sampling import begin, sample, steps_of
from .techniques import Technique

_MEMORIES = 2  # last chunks that keep what the next needs: one to go on from, one if that is damaged


@dataclass
class LongRun:
    """request: resolved, of a long video. `frames` yields them in order; `measured` is whole once they are all there."""

    backbone: Backbone
    request: RenderRequest
    progress: ProgressCallback | None = None
    plan: list[StepRow] = field(default_factory=list)
    timings_s: dict[str, float] = field(default_factory=lambda: {"denoise": 0.0, "decode": 0.0})
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        request, geometry = self.request, self.backbone.geometry
        assert request.frames and request.window and request.steps and request.fps
        self.shown: LatentTimeline = request.latent_timeline(geometry)
        self.clip = geometry.shape(request.window, 0, 0)[2]
        self.continuity: Continuity = request.continuity_for(self.clip)
        self.pieces = pieces(self.shown, self.continuity, self.clip, steps_of(self.backbone, request))
        self.noise = StoryNoise(self.shown, self.continuity, self.clip, warped_streams(request, self.shown, self.backbone))
        self.prompts = StoryPrompts(self.backbone, self.shown, (request.negative_prompt or "") if request.guided else None)
        self.meter = LongClip(fps=float(request.fps), window=request.window, beat=geometry.temporal)

    @torch.inference_mode()
    def frames(self, journal: Journal | None = None) -> Iterator[np.ndarray]:
        """All frames, uint8 [n, h, w, 3] at a time. What the journal holds is not made again."""
        request = self.request
        assert request.frames
        stream, made = FrameStream(self.backbone, request.frames), self._first_to_make(journal)
        memory, tail = Memory(), None
        self._begun = time.perf_counter()
        self._made = made
        for piece in self.pieces:
            if piece.first:
                memory, tail = Memory(), None
            if journal is not None and piece.index < made:
                chunk = journal.read(piece.index)
                self._redraw(piece, int(chunk.state["attempt"]))
            else:
                chunk = self._make(piece, memory, tail, stream.last)
                self._keep(journal, chunk)
            memory = Memory(**chunk.tensors)
            tail = chunk.latents if tail is None else torch.cat([tail, chunk.latents], 2)[:, :, -self.clip :]
            yield from self._decoded(stream, piece, chunk)
        yield from self._judged(stream.finish())

    @property
    def measured(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "continuity": self.continuity.to_dict(),
            "clip_latents": self.clip,
            "pieces": self.rows,
            "report": self.meter.report().to_dict(),
        }

    def _first_to_make(self, journal: Journal | None) -> int:
        """The first piece that is not done, or whose forerunner's memory was let go (a later chunk was damaged)."""
        index = 0 if journal is None else min(len(journal), len(self.pieces))
        while (
            journal is not None and 0 < index < len(self.pieces) and not self.pieces[index].first and not journal.state(index - 1)["memory"]
        ):
            index -= 1
        return index

    def _make(self, piece: Piece, memory: Memory, tail: torch.Tensor | None, last: np.ndarray | None) -> Chunk:
        """The piece; where its seam shows, again with other noise, as often as allowed: the best is taken."""
        best: tuple[float, Chunk] | None = None
        for attempt in range(self.request.retries + 1):
            self._redraw(piece, attempt)
            chunk = self._sampled(piece, memory, last, attempt)
            found = None if tail is None or not self.request.retries else self._seam(tail, chunk.latents)
            if found is None or not found.faults():
                return chunk
            if best is None or found.ratio < best[0]:
                best = found.ratio, chunk
        assert best is not None
        self._redraw(piece, int(best[1].state["attempt"]))
        return best[1]

    def _sampled(self, piece: Piece, memory: Memory, last: np.ndarray | None, attempt: int) -> Chunk:
        sources = [self.noise.of(piece, number) for number in range(len(piece.clips))]
        with memory_errors("denoise"):
            latents, measured, remembered = self._denoise(piece, memory, last, sources)
        parts = [latents[number : number + 1, :, slot : slot + 1] for number, slot in piece.emitted]
        emitted = torch.cat(parts, 2).cpu()
        if piece.fade and memory.kept is not None:
            emitted = _faded(memory.kept, emitted, inner=piece.fade < (self.continuity.overlap or 0))
        check_finite(emitted, f"piece {piece.index} (the final latents)", self.backbone.dtype)
        state = {"attempt": attempt, "memory": True, **measured}
        return Chunk(piece.index, piece.start, emitted, remembered.tensors(), state)

    def _denoise(
        self, piece: Piece, memory: Memory, last: np.ndarray | None, sources: list[Any]
    ) -> tuple[torch.Tensor, dict[str, Any], Memory]:
        request, policy = self.request, self.continuity
        state = begin(self.backbone, request, sources, piece.frames, piece.windows)
        overlap = policy.overlap or 0
        copied = policy.policy in ("replay", "look_back", "co_denoise", "window_attention")
        tie = ContinuityTechnique(piece, memory, policy.pull, overlap if copied else 0)
        techniques: list[Technique] = [tie, *self._prefix(piece, memory, last), *asked_for(request, kept_in_attention(piece))]
        text = self.prompts.of(piece)
        begun = time.perf_counter()
        with self._patched(piece):
            latents, self.plan, measured = sample(self.backbone, state, request, text, techniques, self._told(piece))
        self.timings_s["denoise"] += time.perf_counter() - begun
        count = overlap if policy.policy == "clean_prefix" else policy.fade or 0
        kept = latents[-1:, :, -count:].cpu() if count else None
        return latents, _shortened(measured), tie.memory(kept)

    def _prefix(self, piece: Piece, memory: Memory, last: np.ndarray | None) -> list[Technique]:
        """What a clip begins with that is told to be clean."""
        if piece.first:
            return []
        if self.continuity.policy == "clean_prefix":
            assert memory.kept is not None
            return [CleanPrefix(memory.kept)]
        if self.continuity.policy == "i2v_prefix":
            assert last is not None
            return [CleanPrefix(self.backbone.encode(torch.from_numpy(last.copy())[None, None]))]
        return []

    def _patched(self, piece: Piece) -> Any:
        """Temporal attention in windows, where that is the policy."""
        from contextlib import nullcontext

        if self.continuity.policy != "window_attention" or piece.frames <= self.clip:
            return nullcontext()
        return attach_window_attention(self.backbone, self.clip, self.continuity.overlap or 0)

    def _redraw(self, piece: Piece, attempt: int) -> None:
        self.noise.redraw(piece, attempt)

    def _seam(self, before: torch.Tensor, after: torch.Tensor) -> Seam | None:
        """How the join of two stretches of latents shows, decoded by themselves; None where one is too short to tell."""
        temporal = self.backbone.geometry.temporal
        reached = -(-reach(temporal) // temporal)
        before, after = before[:, :, -reached - 1 :], after[:, :, :reached]
        pixels = self.backbone.decode(torch.cat([before, after], 2))
        frames = (pixels[0] * 255).round().to(torch.uint8).cpu().numpy()
        at = len(frames) - after.shape[2] * temporal
        return seam(frames, at, temporal) if least(temporal) <= at <= len(frames) - least(temporal) else None

    def _keep(self, journal: Journal | None, chunk: Chunk) -> None:
        if journal is None:
            return
        if chunk.index < len(journal):
            journal.replace(chunk)
        else:
            journal.append(chunk)
        old = chunk.index - _MEMORIES
        if old >= 0 and journal.state(old)["memory"]:
            kept = journal.read(old)
            journal.replace(replace(kept, tensors={}, state={**kept.state, "memory": False}))

    def _decoded(self, stream: FrameStream, piece: Piece, chunk: Chunk) -> Iterator[np.ndarray]:
        begun, first = time.perf_counter(), stream.frame_of(piece, piece.start)
        with memory_errors("decode"):
            found = list(stream.push(piece, chunk.latents.to(self.backbone.device)))
        self.timings_s["decode"] += time.perf_counter() - begun
        self.rows.append(
            {"latents": chunk.latents.shape[2], "first_frame": first} | {k: v for k, v in chunk.state.items() if k != "memory"}
        )
        yield from self._judged(found)

    def _judged(self, parts: Any) -> Iterator[np.ndarray]:
        for frames, joins in parts:
            if len(frames) >= 8:
                check_not_flat(torch.from_numpy(frames))
            self.meter.add(frames, joins=joins)
            yield frames

    def _told(self, piece: Piece) -> Callable[[Any, int, int], None]:
        def told(state: Any, steps: int, skipped: int) -> None:
            done, whole = piece.index * steps + state.index, len(self.pieces) * steps
            elapsed, fresh = time.perf_counter() - self._begun, done - self._made * steps
            left = elapsed / fresh * (whole - done) if fresh > 0 else None
            report(self.progress, Progress("denoise", done, whole, elapsed, left))

        return told


def _faded(before: torch.Tensor, after: torch.Tensor, inner: bool) -> torch.Tensor:
    """`after` [1, c, f, h, w] that comes in over `before` [1, c, n, h, w]. inner: whether the clips share frames before these; else
    the first is all before's, as a clip's first latent may be a picture."""
    count = min(before.shape[2], after.shape[2])
    share = ((torch.arange(count) + inner) / (before.shape[2] + inner)).view(-1, 1, 1).to(after)
    mixed = torch.lerp(before[:, :, :count].to(after), after[:, :, :count], share)
    return torch.cat([mixed, after[:, :, count:]], 2)


def _shortened(measured: dict[str, Any]) -> dict[str, Any]:
    """A piece's measurements by other techniques, in a line each."""
    found: dict[str, Any] = {}
    if "attention" in measured:
        found["attention"] = {name: measured["attention"][name] for name in ("least_recall", "mean_density")}
    if "propagation" in measured:
        told = measured["propagation"]
        found["propagation"] = {name: told[name] for name in ("keys", "estimated_error") if name in told}
    return found
