"""Clip specification: the size, length and steps of one batch of clips. Importing this loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .given import Given


@dataclass(frozen=True)
class ClipSpec:
    """Settings of one batch of clips, resolved.

    frames, height, width: in pixels; fps in frames per second. guidance_mode: `sequential` or `batched` calls of the
    two guidance branches, or `pipeline` where a pipeline guides itself. guidance_scale_2: of a low-noise expert; None:
    the same. given: the conditions besides the prompt; options: arguments under the pipeline's own names.
    window_frames: frames that the model is given at once, where they are fewer.
    """

    frames: int
    height: int
    width: int
    steps: int
    guidance_mode: str
    guidance_scale: float = 1.0
    guidance_scale_2: float | None = None
    fps: float = 16.0
    given: tuple[Given, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    window_frames: int | None = None
