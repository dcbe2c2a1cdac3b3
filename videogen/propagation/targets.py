"""What something can be attached to: the denoisers of a model or pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from videogen.core.errors import InputError


def denoisers(target: Any) -> dict[str, nn.Module]:
    """The UNets and transformers of a pipeline by name, or a model by itself as `model`. InputError where there is
    none."""
    if isinstance(target, nn.Module):
        return {"model": target}
    components: Mapping[str, Any] = getattr(target, "components", {})
    found = {
        n: part
        for n, part in components.items()
        if isinstance(part, nn.Module) and n.startswith(("transformer", "unet"))
    }
    if not found:
        raise InputError(f"{type(target).__name__} has no UNet or transformer; give a diffusers model or pipeline")
    return found


def is_compiled(model: nn.Module) -> bool:
    """Whether calls of a model, or of a part of it, go to code that was compiled before."""
    return hasattr(model, "_orig_mod") or any(
        getattr(m, "_compiled_call_impl", None) is not None for m in model.modules()
    )
