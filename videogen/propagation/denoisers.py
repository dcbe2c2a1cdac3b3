"""Denoisers of a model or pipeline: the modules that propagation attaches to."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from videogen.core.errors import InputError


def denoisers(target: object) -> dict[str, nn.Module]:
    """The UNets and transformers of a pipeline by name, or a single model as `model`. InputError if there is none."""
    if isinstance(target, nn.Module):
        return {"model": target}
    components: Mapping[str, object] = getattr(target, "components", {})
    found = {
        name: part for name, part in components.items()
        if isinstance(part, nn.Module) and name.startswith(("transformer", "unet"))
    }  # fmt: skip
    if not found:
        raise InputError(f"{type(target).__name__} has no UNet or transformer; give a diffusers model or pipeline")
    return found
