"""Hooks of diffusers' feature caches on a model."""

from __future__ import annotations

from typing import Any

from torch import nn

_CACHE_MODULES = ("cache", "pyramid")  # parts of the names of the library's modules that have cache hooks


def hooks_of(module: nn.Module) -> dict[str, Any]:
    """The library's hooks on a module by name, as a copy."""
    registry = vars(module).get("_diffusers_hook")
    return {} if registry is None else dict(registry.hooks)


def has_library_cache(model: nn.Module) -> bool:
    """Whether one of the library's caches is enabled, by `enable_cache` or by its own function."""
    if getattr(model, "is_cache_enabled", False):
        return True
    homes = (type(hook).__module__.rpartition(".")[2] for part in model.modules() for hook in hooks_of(part).values())
    return any(word in home for home in homes for word in _CACHE_MODULES)
