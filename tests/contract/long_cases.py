"""Long videos for the contract tests: which policies run on which tiny model, and helpers to render them.

Policies come from the table: a new row is tested on every model that meets its need, without an edit here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videogen import Engine, RenderRequest
from videogen.longvideo.journal.journal import Journal
from videogen.longvideo.run import LongRun
from videogen.request.continuity_policies import ROWS

EngineOf = Callable[[str], Engine]
PROMPT = "a red ball moves right"
LENGTHS = {"animatediff": (6, 16, 23)}  # window, size, frames; Wan: see `long_request`

#: the needs that each model meets (a key of `continuity_policies.NEEDS`); a test compares it with the loaded model
NEEDS_MET: dict[str, frozenset[str]] = {
    "wan-2.1": frozenset(),
    "animatediff": frozenset({"temporal_blocks"}),
    "wan-2.2-expand": frozenset({"clean_prefix", "first_frame"}),
    "wan-2.1+clean_prefix": frozenset({"clean_prefix"}),
    "animatediff+clean_prefix": frozenset({"clean_prefix", "temporal_blocks"}),
    "wan-2.2-experts": frozenset(),
}
#: the models that all policies without a need run on; the others run what these cannot
PLAIN = ("wan-2.1", "animatediff")
#: policies with settings, and plain ones on further models
FURTHER = {
    "wan-2.1": ("replay:release=0.8", "replay:pull=0.5"),
    "animatediff": ("co_denoise:windows=2",),
    "wan-2.2-expand": ("replay",),
    "wan-2.2-experts": ("replay", "cono"),
}
PREFIXED = ("wan-2.2-expand", "wan-2.1+clean_prefix", "animatediff+clean_prefix")


def policies_of(name: str) -> tuple[str, ...]:
    """The continuity specs to test on a model."""
    met_by_plain = frozenset().union(*(NEEDS_MET[plain] for plain in PLAIN))
    own = NEEDS_MET[name] - (frozenset() if name in PLAIN else met_by_plain)
    tested = (spec for spec, row in ROWS.items() if row.need in own or (name in PLAIN and not row.need))
    return (*tested, *FURTHER.get(name, ()))


CASES = [(name, spec) for name in NEEDS_MET for spec in policies_of(name)]
#: those to combine with other techniques: every policy without settings, on one model each
COMBINED = [
    *((name, spec) for name, spec in CASES if ":" not in spec and name not in ("animatediff", "wan-2.2-experts")),
    *(("animatediff", spec) for spec in ("replay", "cono", "co_denoise", "window_attention")),
]


def long_request(name: str, continuity: str | None = None, **options: Any) -> RenderRequest:
    """A video some windows long, whose length fills neither a latent nor a segment."""
    window, side, frames = LENGTHS.get(name.partition("+")[0], (21, 32, 55))
    values: dict[str, Any] = {
        "prompt": PROMPT,
        "window": window,
        "frames": frames,
        "width": side,
        "height": side,
        "steps": 3,
        "continuity": continuity,
    }
    return RenderRequest(**values | options)


def start_run(engine: Engine, request: RenderRequest) -> LongRun:
    return LongRun(engine.backbone, request.resolve(engine.backbone))


def render_with_journal(run: LongRun, folder: Path) -> tuple[np.ndarray, torch.Tensor]:
    """(all frames, the latents of the job)."""
    with Journal.open(folder, {}) as journal:
        frames = np.concatenate(list(run.frames(journal)))
        return frames, journal.latents(0, journal.latents_done)


def denoise_segments(run: LongRun, count: int) -> list[torch.Tensor]:
    """The last clip of each of the first segments, before any latent is left out."""
    from videogen.longvideo.segment_memory import SegmentMemory

    memory, found = SegmentMemory(), []
    for segment in run.segments[:count]:
        latents, _, memory = run.renderer.denoise(segment, memory, None, lambda *_: None)
        found.append(latents[-1:])
    return found
