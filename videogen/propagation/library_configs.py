"""Settings of diffusers' caches for a model: one builder per cache, named in its row of `caches.CACHES`.

A builder takes the settings class of the library, the model, the request and a callback that returns the timestep.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import nn

from videogen.core.errors import UnsupportedError
from videogen.core.lazy import load_object

from .caches import CacheRequest

#: An instance of a settings class of the library.
LibraryConfig: TypeAlias = Any
_ConfigClass: TypeAlias = Callable[..., LibraryConfig]
_Timestep: TypeAlias = Callable[[], float]


def build_config(model: nn.Module, request: CacheRequest, timestep: _Timestep) -> LibraryConfig:
    """The library's settings for this model. UnsupportedError if the installed diffusers has no such cache."""
    from diffusers import hooks

    config_class = getattr(hooks, request.kind.config, None)
    if config_class is None:
        raise UnsupportedError(
            f"the installed diffusers has no {request.name}; update diffusers to 0.42 or use first-block or pab"
        )
    return load_object(request.kind.builder, __package__)(config_class, model, request, timestep)


def build_first_block(
    config_class: _ConfigClass, model: nn.Module, request: CacheRequest, timestep: _Timestep
) -> LibraryConfig:
    return config_class(threshold=request.cache.value)


def build_seacache(
    config_class: _ConfigClass, model: nn.Module, request: CacheRequest, timestep: _Timestep
) -> LibraryConfig:
    # the library reads the latents of other models itself, or refuses
    plain = "hidden_states" in inspect.signature(model.forward).parameters
    return config_class(threshold=request.cache.value, raw_vision_callback=_noisy_latents if plain else None)


def build_magcache(
    config_class: _ConfigClass, model: nn.Module, request: CacheRequest, timestep: _Timestep
) -> LibraryConfig:
    if request.mag_ratios is None:  # never reaches its last step, at which the library would print and drop the ratios
        return config_class(calibrate=True, num_inference_steps=sys.maxsize)
    return config_class(
        threshold=request.cache.value, num_inference_steps=request.steps, mag_ratios=list(request.mag_ratios)
    )


def build_taylorseer(
    config_class: _ConfigClass, model: nn.Module, request: CacheRequest, timestep: _Timestep
) -> LibraryConfig:
    return config_class(
        cache_interval=request.cache.value,
        taylor_factors_dtype=next(model.parameters()).dtype,
        cache_identifiers=_taylor_names(model),
    )


def build_pab(
    config_class: _ConfigClass, model: nn.Module, request: CacheRequest, timestep: _Timestep
) -> LibraryConfig:
    return config_class(
        current_timestep_callback=timestep,
        cross_attention_block_skip_range=request.cache.value,
        **_attention_intervals(request),
    )


def build_fastercache(
    config_class: _ConfigClass, model: nn.Module, request: CacheRequest, timestep: _Timestep
) -> LibraryConfig:
    interval = int(request.cache.value or 1)
    return config_class(
        current_timestep_callback=timestep,
        attention_weight_callback=lambda _: 0.5,
        is_guidance_distilled=request.is_guidance_distilled,
        unconditional_batch_skip_range=1 if interval == 1 else 2 * interval + 1,
        **_attention_intervals(request),
    )


def _attention_intervals(request: CacheRequest) -> dict[str, float | None]:
    return {f"{axis}_attention_block_skip_range": request.cache.value for axis in ("spatial", "temporal")}


def library_blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks that the library caches, in its order."""
    from diffusers.hooks._common import _ALL_TRANSFORMER_BLOCK_IDENTIFIERS as names

    return [
        block
        for name, part in model.named_children()
        if name in names and isinstance(part, nn.ModuleList)
        for block in part
    ]


def _taylor_names(model: nn.Module) -> list[str]:
    """Patterns of the attention and feed-forward modules in a model's blocks. The library's default pattern misses
    `attn1` and `attn2`."""
    from diffusers.hooks._common import _ATTENTION_CLASSES, _FEEDFORWARD_CLASSES

    within = {module for block in library_blocks(model) for module in block.modules()}
    kinds = (*_ATTENTION_CLASSES, *_FEEDFORWARD_CLASSES)
    return [re.escape(name) for name, module in model.named_modules() if module in within and isinstance(module, kinds)]


def _noisy_latents(model: nn.Module, args: Sequence[object], kwargs: Mapping[str, object]) -> list[torch.Tensor]:
    """The latents for SeaCache: one [channel, frame, height, width] per sample, with the noisy channels only, which
    come first."""
    config: Any = getattr(model, "config", None)
    latents = inspect.signature(type(model).forward).bind_partial(model, *args, **kwargs).arguments["hidden_states"]
    channels = config.in_channels
    axis = 2 if latents.shape[1] != channels and latents.shape[2] == channels else 1
    noisy = min(channels, getattr(config, "out_channels", None) or channels)
    return list(latents.movedim(axis, 1).narrow(1, 0, noisy).unbind(0))
