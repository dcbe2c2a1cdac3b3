"""Configurations of a model's components, wherever they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .names import revision_option
from .sources import ModelSources, part_config


def load_config(component: Any, sources: ModelSources, name: str, *, online: bool) -> dict[str, Any]:
    """The configuration of a component. component: its class in diffusers; online: whether one that is not in the
    local cache may be fetched from the hub. OSError where there is none."""
    part = sources.parts.get(name)
    config = None if part is None else part_config(part)
    if config is None:
        config = _load(component, sources, name, online)
    return {**config, **sources.settings.get(name, {})}


def _load(component: Any, sources: ModelSources, name: str, online: bool) -> dict[str, Any]:
    """From the part's own repository, else from the base."""
    part = sources.parts.get(name)
    if part is not None and not isinstance(part.source, Path):
        options = {"local_files_only": not online, **revision_option(part.source)}
        try:
            return dict(component.load_config(str(part.source), subfolder=name, **options))
        except OSError:
            return dict(component.load_config(str(part.source), **options))
    base = sources.base
    local = isinstance(base, Path) or not online
    found = component.load_config(str(base), subfolder=name, local_files_only=local, **revision_option(base))
    return dict(found)
