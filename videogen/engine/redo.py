"""One piece of a kept long video made again, so that it fits the pieces on both sides, which stay as they are.

The piece is denoised anew together with the last frames before it and the first frames after it. Those go in a straight line to
what they are (`continuity.StraightReplay`), so it matters neither how they were made nor by which policy.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import torch

from videogen.backbones.base import Backbone
from videogen.core.errors import InputError
from videogen.core.randomness import address
from videogen.longvideo.journal import Journal
from videogen.longvideo.pieces import Piece
from videogen.longvideo.records import Chunk
from videogen.schedulers.cono import SOURCE, Clip
from videogen.schedulers.noise import AddressedNoise
from videogen.schedulers.windows import Windows

from .continuity import StraightReplay
from .events import Progress, ProgressCallback, report
from .long_render import LongVideo, render_long, request_of_job
from .long_run import LongRun
from .sampling import begin, sample


def redo(
    backbone: Backbone, output: str | os.PathLike[str], index: int, *, attempt: int | None = None, progress: ProgressCallback | None = None
) -> LongVideo:
    """Make piece `index` (from 0) of the video at `output` again and write the video anew; its job folder stays.

    attempt: which noise, 1 and on; None: the next one not tried. ResumeError where the job was not kept (`keep_job`);
    InputError where the piece is not there.
    """
    request, settings = request_of_job(output)
    request = replace(request, device=None, dtype=None).resolve(backbone)

    def remake(run: LongRun, journal: Journal) -> None:
        if not 0 <= index < len(journal):
            raise InputError(f"piece {index} is not there: the job has {len(journal)} of {len(run.pieces)} pieces, counted from 0")
        state = journal.state(index)
        number = int(state["attempt"]) + 1 if attempt is None else attempt
        if number < 1:
            raise InputError(f"attempt={number} must be 1 or more")
        journal.replace(_between(run, journal, index, number, progress))

    return render_long(
        backbone, request, output, quality=settings.get("quality"), overwrite=True, keep_job=True, progress=progress, prepare=remake
    )


@torch.inference_mode()
def _between(run: LongRun, journal: Journal, index: int, attempt: int, progress: ProgressCallback | None) -> Chunk:
    """The piece, denoised between its neighbours' frames."""
    piece = run.pieces[index]
    old = journal.read(index)
    start, stop = _reach(run, piece, journal.latents_done)
    wide = _widened(run, piece, start, stop)
    source = AddressedNoise(address(run.request.seed, "redo", index, attempt))
    state = begin(run.backbone, run.request, [source], stop - start, wide.windows)
    fixed = [slot for slot in range(stop - start) if not piece.start <= start + slot < piece.stop]
    shape = (state.latents.shape[1], *state.latents.shape[3:])
    techniques: list[Any] = []
    if fixed:
        known = journal.latents(start, stop)[:, :, fixed]
        techniques.append(StraightReplay(fixed, known, source.frames(fixed, shape)))

    def told(state: Any, steps: int, skipped: int) -> None:
        report(progress, Progress("denoise", state.index, steps, 0.0))

    latents, _, _ = sample(run.backbone, state, run.request, run.prompts.of(wide), techniques, told)
    made = latents[:, :, piece.start - start : piece.stop - start].cpu()
    return Chunk(index, old.start, made, old.tensors, {**old.state, "attempt": attempt, "redone": True})


def _reach(run: LongRun, piece: Piece, done: int) -> tuple[int, int]:
    """The job latents that are denoised: the piece, and of its scene on either side as much as a clip's tie, a clip at least."""
    tie = max(1, run.continuity.overlap or run.clip // 3)
    start, stop = max(piece.scene.start, piece.start - tie), min(piece.scene.stop, done, piece.stop + tie)
    start = max(piece.scene.start, min(start, stop - run.clip))
    return start, min(piece.scene.stop, done, max(stop, start + run.clip))


def _widened(run: LongRun, piece: Piece, start: int, stop: int) -> Piece:
    frames = stop - start
    clip = Clip("clip", SOURCE, tuple(range(frames)), (), SOURCE, range(piece.start - start, piece.stop - start))
    anchor = run.backbone.geometry.single_first
    windows = Windows(frames, run.clip, min(run.clip // 2, run.clip - 1 - anchor), anchor=anchor) if frames > run.clip else None
    return replace(piece, clips=(clip,), spans=(range(start, stop),), windows=windows, fade=0)
