"""Backbone of a diffusers pipeline that the user has already loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from videogen.core.errors import InputError, UnsupportedError
from videogen.core.lazy import load_object

from .base import Backbone
from .defaults import read_defaults
from .hosting.modular_pipelines import MODULAR_NOT_HOSTED
from .hosting.pipelines import NOT_HOSTED
from .registry import find_family

_SAMPLE = 1024  # values at both ends and in the middle of a tensor that are hashed


def wrap_pipeline(pipeline: Any) -> Backbone:
    """The backbone of a pipeline, which stays the user's: its components are used as they are, in eval mode.

    Its name is the folder or hub id that it was loaded from, as far as the pipeline knows. Raises InputError for what
    is no pipeline, UnsupportedError for a class that no family loads.
    """
    class_name = type(pipeline).__name__
    if not isinstance(getattr(pipeline, "components", None), dict):
        raise InputError(f"{class_name} is not a pipeline; give a diffusers pipeline, or use Engine.load(name)")
    families = (find_family(kind.__name__) for kind in type(pipeline).__mro__)  # also of a subclass of the user's
    family = next((family for family in families if family is not None), None)
    if family is None:
        reason = (NOT_HOSTED | MODULAR_NOT_HOSTED).get(class_name, "it is not a video pipeline that is known")
        raise UnsupportedError(f"{class_name} is not supported: {reason}; `videogen models --table` lists the others")
    for component in pipeline.components.values():
        if isinstance(component, nn.Module):
            component.eval()
    name = str(getattr(getattr(pipeline, "config", None), "_name_or_path", "") or class_name)
    defaults, training = read_defaults(Path(name)) if Path(name).is_dir() else ({}, {})
    backbone: Backbone = load_object(family.home, __package__)(
        pipeline, name, digest_components(pipeline), defaults, training
    )
    backbone.components_digest = digest_components(pipeline, with_source=False)
    return backbone


def digest_components(pipeline: Any, *, with_source: bool = True) -> str:
    """Digest of a pipeline in memory: a hash over each component's class, configuration and weights.

    Of each tensor only both ends and the middle are hashed. It is another one than that of the files, and depends on
    the dtype. with_source: hash the libraries' private settings too, such as where a component was loaded from; without
    them, the same files loaded with the same dtype have the same digest, wherever they are.
    """
    state = hashlib.sha256()
    for name, component in sorted(pipeline.components.items()):
        for part in _contents(name, component, with_source):
            state.update(part)
    return state.hexdigest()[:32]


def digest_component(name: str, component: Any) -> str | None:
    """Digest of one component, as in `digest_components`. None where its weights are not in memory (`meta`)."""
    tensors = component.state_dict().values() if isinstance(component, nn.Module) else ()
    if any(tensor.is_meta for tensor in tensors):
        return None
    state = hashlib.sha256()
    for part in _contents(name, component, with_source=False):
        state.update(part)
    return state.hexdigest()[:32]


def _contents(name: str, component: Any, with_source: bool) -> Iterator[bytes]:
    config = getattr(component, "config", None)
    settings = config if isinstance(config, dict) else {}
    described = {key: value for key, value in settings.items() if with_source or key[:1] != "_"}
    text = json.dumps(described, sort_keys=True, default=str)
    yield f"{name}:{type(component).__name__}:{text}\n".encode()
    if isinstance(component, nn.Module):
        for key, tensor in component.state_dict().items():
            yield f"{key}:{tensor.dtype}:{list(tensor.shape)}\n".encode()
            for part in _samples(tensor.detach().flatten()):
                yield part.contiguous().cpu().view(torch.uint8).numpy().tobytes()


def _samples(values: torch.Tensor) -> Iterator[torch.Tensor]:
    middle = max(0, (len(values) - _SAMPLE) // 2)
    yield from (values[:_SAMPLE], values[middle : middle + _SAMPLE], values[-_SAMPLE:])
