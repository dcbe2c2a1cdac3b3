"""Checks of a render request's fields, one by one: types, ranges and choices, whatever the model."""

from __future__ import annotations

import math
from dataclasses import fields
from os import PathLike
from typing import TYPE_CHECKING, Any

from videogen.attention.config import SparseAttention
from videogen.backbones.load_options import COMPONENTS
from videogen.core.errors import InputError
from videogen.motion.control import MotionControl
from videogen.motion.spec import Motion
from videogen.propagation.caches import LibraryCache
from videogen.propagation.config import StepCaching
from videogen.request.continuity import Continuity

from .conditions import Conditions

if TYPE_CHECKING:
    from .request import RenderRequest

NOISES = ("addressed", "diffusers")
#: `pipeline`: of hosted pipelines, which guide themselves
GUIDANCES = ("batched", "sequential", "pipeline")

_ALWAYS_SET = (
    "prompt",
    "noise",
    "compile",
    "channels_last",
    "vae_tiling",
    "validate",
    "strict",
    "attention",
    "propagate",
    "retries",
)
_TYPES: dict[str, tuple[type, ...]] = {
    "prompt": (str,),
    "seed": (int,),
    "frames": (int,),
    "width": (int,),
    "height": (int,),
    "steps": (int,),
    "guidance_scale": (int, float),
    "guidance_scale_2": (int, float),
    "fps": (int, float),
    "compile": (bool, str),
    "channels_last": (bool,),
    "vae_tiling": (bool,),
    "validate": (bool,),
    "strict": (bool,),
    "attention": (str, dict, SparseAttention),
    "recall": (int, float),
    "propagate": (str, dict, StepCaching, LibraryCache),
    "motion": (Motion, list, dict, str, PathLike),
    "motion_strength": (int, float),
    "motion_backend": (str, MotionControl),
    "first_frame": (str, PathLike),
    "story": (object,),
    "seconds": (int, float),
    "continuity": (str, dict, Continuity),
    "window": (int,),
    "retries": (int,),
    "conditions": (Conditions, dict),
    "options": (dict,),
    "memory": (str, int),
    **dict.fromkeys(("base", *COMPONENTS), (str, PathLike)),
    "precision": (str,),
    "loras": (list, tuple),
    "embeddings": (list, tuple),
    "shift": (int, float),
}


def check_types(request: RenderRequest) -> dict[str, Any]:
    """InputError for a field of another type. Returns the fields that are NumPy or torch scalars, as Python's own."""
    converted: dict[str, Any] = {}
    for field in fields(request):
        value = getattr(request, field.name)
        if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
            value = converted[field.name] = value.item()
        _check_type(field.name, value)
    return converted


def allowed_types(name: str) -> tuple[type, ...]:
    """The types of a field's value, without None."""
    return _TYPES.get(name, (str,))


def is_optional(name: str) -> bool:
    """Whether a field may be None: left to the model."""
    return name not in _ALWAYS_SET


def _check_type(name: str, value: object) -> None:
    if value is None and is_optional(name):
        return
    allowed = allowed_types(name)
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        wanted = " or ".join(kind.__name__ for kind in allowed)
        raise InputError(f"{name}={value!r} must be {wanted}, not {type(value).__name__}")


def check_values(request: RenderRequest) -> None:
    """InputError for an empty prompt, a number outside its range, or an unknown choice."""
    if not request.prompt.strip() and not request.given.keys():
        raise InputError("the prompt is empty; say what the video shows, such as 'a red ball moves right'")
    for name in ("frames", "width", "height", "steps", "fps", "seconds", "window", "shift"):
        value = getattr(request, name)
        if value is not None and not value > 0:
            raise InputError(f"{name}={value} must be above 0")
    for name in ("guidance_scale", "guidance_scale_2", "fps", "recall", "seconds", "shift"):
        value = getattr(request, name)
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise InputError(f"{name}={value} must be a finite number of at least 0")
    if request.seed is None or not 0 <= request.seed < 2**63:
        raise InputError(f"seed={request.seed} must be from 0 to 2**63 - 1")
    for name in request.options or ():
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"options has the key {name!r}; keys are names of the pipeline's arguments")
    if request.strict and not request.validate:
        raise InputError("strict=True stops at a kernel that is found wrong, and validate=False looks for none; "
                         "leave one of them out")  # fmt: skip
    for name, choices in (("noise", NOISES), ("guidance_mode", GUIDANCES)):
        value = getattr(request, name)
        if value is not None and value not in choices:
            raise InputError(f"{name}={value!r} is unknown; use {' or '.join(choices)}")
