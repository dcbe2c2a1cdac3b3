"""Outline of a model: its pipeline built from the configuration files alone, without weights.

A backbone over an outline answers all that a request is resolved against (geometry, capabilities, noise schedule), so
that what the model cannot serve is refused before gigabytes are read. Parameters are on the meta device; text encoders
and tokenizers are left out.
"""

from __future__ import annotations

from typing import Any

import torch

from videogen.attention.kernels.packages import hide_broken_packages

from .checkpoints.configurations import load_config
from .checkpoints.location import components_of
from .checkpoints.motion_adapter import ADAPTER
from .checkpoints.sources import ModelSources
from .hosting.modular_loading import outline_modular
from .loading import check_class, without_fallback_lines


def build_outline(class_name: str, sources: ModelSources, *, online: bool = False) -> Any:
    """The pipeline of an index with the models and the scheduler of its configuration files; no weights are read.

    online: whether configurations that are not in the local cache may be fetched from the hub.
    """
    hide_broken_packages()
    with without_fallback_lines():
        return _build_outline(class_name, sources, online)


def _build_outline(class_name: str, sources: ModelSources, online: bool) -> Any:
    import diffusers
    from accelerate import init_empty_weights

    index = sources.index

    settings = {name: value for name, value in index.items() if not isinstance(value, list | tuple) and name[0] != "_"}
    components = {name: None for name, value in index.items() if isinstance(value, list | tuple)}
    built = {
        name: _build_component(sources, name, kind, online)
        for name, (library, kind) in components_of(index).items()
        if library == "diffusers"
    }
    pipeline_class = getattr(diffusers, class_name)
    outlined = type(class_name, (pipeline_class,), {"_execution_device": torch.device("cpu")})  # for noise and solver
    if ADAPTER in built and isinstance(built["unet"], diffusers.UNet2DConditionModel):  # as the pipeline would
        with init_empty_weights():
            built["unet"] = diffusers.UNetMotionModel.from_unet2d(built["unet"], built[ADAPTER], load_weights=False)
    if issubclass(pipeline_class, diffusers.ModularPipeline):
        return outline_modular(outlined, sources.base, index, built)
    return outlined(**settings, **(components | built))


def _build_component(sources: ModelSources, name: str, kind: str, online: bool) -> Any:
    import diffusers
    from accelerate import init_empty_weights

    check_class(diffusers, kind, f"{sources.base}/{name}")
    component = getattr(diffusers, kind)
    config = load_config(component, sources, name, online=online)
    if not issubclass(component, torch.nn.Module):
        return component.from_config(config)
    with init_empty_weights():
        return component.from_config(config).eval()
