"""Tiny rows on the engine: a request of each, by the engine's names."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tiny.table import Tiny, TinyCall, load_rows
from videogen.backbones.hosting.backbone import HostedBackbone
from videogen.backbones.hosting.pipelines import PIPELINES
from videogen.engine.engine import Engine

STEPS = 4
#: arguments of the tiny rows that are keywords of the engine
KEYWORDS = {
    "fps": "fps", "frame_rate": "fps", "target_fps": "fps", "guidance_scale": "guidance_scale",
    "max_guidance_scale": "guidance_scale", "guidance_scale_2": "guidance_scale_2",
}  # fmt: skip
#: arguments that the engine gives itself
ENGINES = ("seed",)


#: options that a tiny row states for each call, since they depend on its length and size
PER_CALL = ("action", "intrinsics")

#: classes that have a row and that the host does not run yet, and why
PENDING = {"VideoToVideoSDPipeline": "its size is that of the video"}


def class_of(row: Tiny) -> str:
    return row.name.partition(":")[0]


def hosted_rows() -> list[Any]:
    """A parameter per hosted pipeline class, with its first tiny row; all but one per lineage are slow."""
    first: dict[str, Tiny] = {}
    for row in load_rows().values():
        if class_of(row) in PIPELINES.keys() - PENDING.keys():
            first.setdefault(class_of(row), row)
    return [
        pytest.param(row, id=name, marks=() if row.core else pytest.mark.slow) for name, row in sorted(first.items())
    ]


def build_engine(row: Tiny, call: TinyCall) -> Engine:
    pipeline = row.build()
    row.prepare(pipeline, call)
    return Engine(HostedBackbone(pipeline, row.name, "0"))


def request_options(row: Tiny, call: TinyCall) -> dict[str, Any]:
    """Keywords of `Engine.generate` for a call."""
    options = {name: value for name, value in row.options.items() if name not in ENGINES}
    options |= {name: value for name, value in row.call(call).items() if name in PER_CALL}
    keywords = {KEYWORDS[name]: options.pop(name) for name in list(options) if name in KEYWORDS}
    return {
        "frames": call.frames, "size": (call.width, call.height), "steps": call.steps, "seed": 1,
        "options": options or None, **keywords, **row.given(call),
    }  # fmt: skip
