"""Outline of a model: its pipeline built from the configuration files alone, without weights.

A backbone over an outline answers all that a request is resolved against (geometry, capabilities, noise schedule), so
that what the model cannot serve is refused before gigabytes are read. Parameters are on the meta device; text encoders
and tokenizers are left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from videogen.attention.kernels.packages import hide_broken_packages

from .hosting.modular_loading import outline_modular
from .loading import without_fallback_lines
from .registry import components_of


def build_outline(class_name: str, source: Path | str, index: dict[str, Any], *, online: bool = False) -> Any:
    """The pipeline of an index with the models and the scheduler of its configuration files; no weights are read.

    online: whether configurations that are not in the local cache may be fetched from the hub.
    """
    hide_broken_packages()
    with without_fallback_lines():
        return _build_outline(class_name, source, index, online)


def _build_outline(class_name: str, source: Path | str, index: dict[str, Any], online: bool) -> Any:
    import diffusers

    settings = {name: value for name, value in index.items() if not isinstance(value, list | tuple) and name[0] != "_"}
    components = {name: None for name, value in index.items() if isinstance(value, list | tuple)}
    built = {
        name: _build_component(source, name, kind, online)
        for name, (library, kind) in components_of(index).items()
        if library == "diffusers"
    }
    pipeline_class = getattr(diffusers, class_name)
    outlined = type(class_name, (pipeline_class,), {"_execution_device": torch.device("cpu")})  # for noise and solver
    if issubclass(pipeline_class, diffusers.ModularPipeline):
        return outline_modular(outlined, source, index, built)
    return outlined(**settings, **(components | built))


def _build_component(source: Path | str, name: str, kind: str, online: bool) -> Any:
    import diffusers
    from accelerate import init_empty_weights

    component = getattr(diffusers, kind)
    local = isinstance(source, Path) or not online
    config = component.load_config(str(source), subfolder=name, local_files_only=local)
    if not issubclass(component, torch.nn.Module):
        return component.from_config(config)
    with init_empty_weights():
        return component.from_config(config).eval()
