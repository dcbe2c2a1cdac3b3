"""`videogen plan`: memory and time of a render before it runs, and what it would keep on the device."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from videogen.core.byte_sizes import format_bytes
from videogen.core.checks import check_count
from videogen.core.logs import adopt_third_parties
from videogen.request.continuity import MEASURED
from videogen.request.continuity_policies import general_policy
from videogen.request.request import RenderRequest

from .long_video import divide
from .settings import gather_settings
from .text import plural, printable

if TYPE_CHECKING:
    from videogen.planning.plan import MemoryPlan

#: Options of `render` that a plan has none of.
_NOT_PLANNED = {
    "output": None, "overwrite": False, "quality": None, "preview": None, "report": None, "resume": None,
    "motion_preview": None,
}  # fmt: skip
#: of a longer video, so many frames are divided into segments to count them
_COUNTED_FRAMES = 20_000


def run(options: argparse.Namespace) -> int:
    from videogen.planning.plan import plan_render

    settings = gather_settings(argparse.Namespace(**{**_NOT_PLANNED, **vars(options)}))
    adopt_third_parties(options.verbose)
    if options.batch_size is not None:
        check_count("batch_size", options.batch_size, 1)
    plan = plan_render(
        settings.request, calibrate=not options.no_time, online=True, batch=options.batch_size or 1
    )  # fmt: skip
    segments = count_segments(settings.request)
    total = None if plan.seconds is None else plan.seconds * segments
    if options.json:
        print(json.dumps({**plan.to_dict(), "segments": segments, "total_seconds": total}, indent=2))
        return 0
    print(describe_plan(plan))
    if segments > 1:
        print(f"\n{segments} segments, each as above; total time {describe_seconds(total)}")
    for note in plan.notes:
        print(f"note: {printable(note)}", file=sys.stderr)
    return 0


def count_segments(request: RenderRequest) -> int:
    """In how many segments a request is rendered, 1 for a single clip; of a very long one from a part of it."""
    from videogen.backbones.registry import load_outline

    outline = load_outline(request.model or "embedded", request.load_options(), online=True)
    if outline is None:
        return 1
    resolved = replace(request, model=None, dtype=None, device=None, memory=None).resolve(outline)
    if not resolved.is_long:
        return 1
    frames = resolved.frames
    if resolved.continuity == MEASURED:
        resolved = resolved.with_continuity(general_policy(), outline)
    if frames > _COUNTED_FRAMES and resolved.request.story is None:
        part = replace(resolved.request, frames=_COUNTED_FRAMES, seconds=None).resolve(outline)
        return math.ceil(len(divide(part, outline)) * frames / _COUNTED_FRAMES)
    return len(divide(resolved, outline))


def describe_plan(plan: MemoryPlan) -> str:
    """A plan as text: the stages of the chosen residency, then what was considered."""
    size = f"{plural(plan.frames, 'frame')} of {plan.width}x{plan.height}"
    memory = "" if plan.memory is None else f", {format_bytes(plan.memory)} of memory"
    head = f"{plan.model}: {size}, {plural(plan.calls, 'model call')}, {plan.dtype} on {plan.device}{memory}"
    stages = [
        (stage.name, format_bytes(stage.resident), format_bytes(stage.activations), format_bytes(stage.peak),
         describe_seconds(stage.seconds))
        for stage in plan.chosen.stages
    ]  # fmt: skip
    options = [
        (option.residency.describe(), format_bytes(option.peak), describe_seconds(option.seconds),
         "chosen" if option is plan.chosen else "too large")
        for option in plan.options
    ]  # fmt: skip
    return "\n".join([
        head, "",
        *_table(("stage", "weights", "activations", "peak", "time"), stages), "",
        *_table(("residency", "peak", "time", ""), options),
    ])  # fmt: skip


def describe_seconds(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell, the first one to the left."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return [
        "  ".join(cell.rjust(width) if column else cell.ljust(width)
                  for column, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in (head, *rows)
    ]  # fmt: skip
