"""Attention dispatch of diffusers: which backend an attention module calls, and setting it for one call.

The only file of this library that imports diffusers, and only when a module of it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

#: diffusers' name of the backend that ends in torch's `scaled_dot_product_attention`
NATIVE = "native"


def attention_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The attention modules of a diffusers model, by name: those with a processor."""
    return ((name, module) for name, module in model.named_modules() if hasattr(module, "processor"))


def backend_of(module: nn.Module) -> str:
    """The name of the backend that an attention module's processor calls; `native` where it knows no other."""
    processor = module.processor
    if not hasattr(processor, "_attention_backend"):
        return NATIVE
    from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry

    chosen = processor._attention_backend or _AttentionBackendRegistry.get_active_backend()[0]
    return str(AttentionBackendName(chosen).value)


def backend_function(name: str) -> Callable[..., Any]:
    """A backend's function, of query, key, value [b, l, h, d] and the keywords that it takes."""
    from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry

    backend = AttentionBackendName(name)
    function, known = _AttentionBackendRegistry._backends[backend], _AttentionBackendRegistry._supported_arg_names

    def call(**arguments: Any) -> Any:
        return function(**{key: value for key, value in arguments.items() if key in known[backend]})

    return call


def _supports_native(processor: Any) -> bool:
    """False for the processors that hand over what only their own backends take, such as block masks."""
    supported = getattr(processor, "_SUPPORTED_BACKENDS", None)
    return supported is None or any(str(getattr(one, "value", one)) == NATIVE for one in supported)


def use_native_backend(module: nn.Module) -> Callable[[], None] | None:
    """Make diffusers' attention dispatch end in torch's function for this module; returns what restores it, None where
    nothing was changed."""
    processor = module.processor
    if not hasattr(processor, "_attention_backend"):
        return None
    from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry

    before = vars(processor).get("_attention_backend", _AttentionBackendRegistry)
    if backend_of(module) == NATIVE or not _supports_native(processor):
        return None
    processor._attention_backend = AttentionBackendName.NATIVE

    def restore() -> None:
        if before is _AttentionBackendRegistry:
            del processor._attention_backend
        else:
            processor._attention_backend = before

    return restore
