"""Guidance scale of single steps of a hosted pipeline: wherever its loop reads the scale from, it is set for a step.

Pipelines read it from an attribute, a local variable of their call, a tensor that the model is given (embedded
guidance, a thousand times the scale), or a guider component. Some have a scale per frame or per expert: each is set to
1 + (own - 1) * strength, where the strength is 1 for the scale that the clip was opened with and 0 without guidance.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import torch

from videogen.core.errors import UnsupportedError

from .lent_loop import LentLoop

_ATTRIBUTES = ("_guidance_scale", "_guidance_scale_2")
_LOCALS = ("guidance_scale", "guidance_scale_2")
_EMBEDDED, _EMBEDDED_UNIT = "guidance", 1000.0
_GUIDERS = ("guider", "guider_2")
#: the next number above 1 in fp32
_UNGUIDED = 1 + 2**-23


class StepGuidance:
    """Of a loop that waits for its first step. scale: that the clip was opened with."""

    def __init__(self, loop: LentLoop, scale: float) -> None:
        self._loop, self._scale, self._present = loop, scale, scale
        settings = vars(loop.pipeline)
        self._attributes = {name: settings[name] for name in _ATTRIBUTES if _is_scale(settings.get(name))}
        self._guiders = {
            name: copy(settings[name]) for name in _GUIDERS if hasattr(settings.get(name), "guidance_scale")
        }
        settings |= self._guiders  # the user's own stay as they are
        self._guider_scales = {name: guider.guidance_scale for name, guider in self._guiders.items()}
        found = {} if loop.frame is None else loop.frame.f_locals
        self._locals = {name: found[name] for name in _LOCALS if _is_scale(found.get(name))}
        embedded = found.get(_EMBEDDED)
        self._embedded = embedded if isinstance(embedded, torch.Tensor) else None

    def set(self, scale: float) -> None:
        """Guide the next body by this scale.

        A step without guidance is given a scale just above 1: at 1, pipelines that evaluate both branches in one batch
        would give the model half of it, with the text of both. UnsupportedError for guidance of a clip that was opened
        without it.
        """
        if scale == self._present or max(scale, self._scale) <= 1:
            return
        if self._scale <= 1:
            raise UnsupportedError(f"a step has guidance_scale={scale:g}, but its clip was opened without guidance")
        strength = max(0.0, (scale - 1) / (self._scale - 1))
        self._write(lambda own: own if strength == 1 else _weakened(own, strength))
        self._present = scale

    def _write(self, change: Callable[[Any], Any]) -> None:
        settings = vars(self._loop.pipeline)
        settings |= {name: change(own) for name, own in self._attributes.items()}
        for name, guider in self._guiders.items():
            guider.guidance_scale = change(self._guider_scales[name])
        values = {name: change(own) for name, own in self._locals.items()}
        if self._embedded is not None:
            values[_EMBEDDED] = change(self._embedded / _EMBEDDED_UNIT) * _EMBEDDED_UNIT
        if values:
            assert self._loop.frame is not None
            self._loop.form.set_variables(self._loop.frame, values)


def _is_scale(value: Any) -> bool:
    return isinstance(value, int | float | torch.Tensor) and not isinstance(value, bool)


def _weakened(own: Any, strength: float) -> Any:
    """A scale, or a tensor of them, with this fraction of its guidance; one without guidance as it is."""
    if not isinstance(own, torch.Tensor):
        return own if own <= 1 else max(_UNGUIDED, 1 + (own - 1) * strength)
    least = 1 + torch.finfo(own.dtype).eps
    return torch.where(own <= 1, own, (1 + (own - 1) * strength).clamp(min=least))
