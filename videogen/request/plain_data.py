"""Plain data of a request's fields: what manifests, jobs and configuration files store for configuration objects."""

from __future__ import annotations

import copy
from dataclasses import asdict
from typing import Any

from videogen.attention.config import SparseAttention
from videogen.backbones.lora.embedding_spec import Embedding
from videogen.backbones.lora.spec import Lora
from videogen.motion.control import MotionControl
from videogen.motion.spec import Motion
from videogen.propagation.caches import LibraryCache
from videogen.propagation.config import StepCaching
from videogen.request.conditions import Conditions
from videogen.request.continuity import Continuity


def to_plain(value: Any) -> Any:
    """A field's value as plain data, which the field reads back; a motion as `videogen.motion.to_layers` gives it."""
    from videogen.motion.serialisation import to_layers
    from videogen.timeline import Timeline

    if isinstance(value, Motion):
        return to_layers(value)
    if isinstance(value, tuple) and any(isinstance(one, Lora | Embedding) for one in value):
        return [one.to_dict() for one in value]
    if isinstance(value, Timeline | Continuity | Conditions):
        return value.to_dict()
    if isinstance(value, SparseAttention | StepCaching):
        return asdict(value)
    if isinstance(value, LibraryCache | MotionControl):
        return str(value)
    return copy.deepcopy(value)
