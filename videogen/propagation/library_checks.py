"""Where diffusers' caches work, and how each is configured: enabling one where it does not may raise late, do nothing,
or be wrong.

What is refused, and why, was found by running each cache on each of the library's video models.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from videogen.core.errors import InputError, UnsupportedError

from .caches import KINDS
from .targets import is_compiled

if TYPE_CHECKING:
    from .library import Wish

#: Models that add something between their blocks: a kept change of all blocks holds it already, so it would be added twice.
_BETWEEN_BLOCKS = {"WanVACETransformer3DModel": "control hints", "WanAnimateTransformer3DModel": "face features"}
INSTEAD = "use propagation 'max_error:0.02' or 'every:N' instead"
_OTHERS = "use pab or taylorseer, or propagation 'max_error:0.02' or 'every:N'"
APART = "for one call a guidance branch give attach_library(..., is_guidance_distilled=True)"


def library_blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks that the library looks at, in its order."""
    from diffusers.hooks._common import _ALL_TRANSFORMER_BLOCK_IDENTIFIERS as names

    return [
        block
        for name, part in model.named_children()
        if name in names and isinstance(part, nn.ModuleList)
        for block in part
    ]


def check_works(model: nn.Module, wish: Wish) -> None:
    """UnsupportedError where this cache does not work for this model."""
    cls = type(model).__name__
    if not hasattr(model, "enable_cache") or not hasattr(model, "cache_context"):
        if any("unet" in base.__name__.lower() for base in type(model).__mro__):
            raise UnsupportedError(
                f"{cls}: diffusers has no cache for UNets; use propagation 'fd', 'deepcache:N' or 'max_error:0.02'"
            )
        raise UnsupportedError(f"{cls} has none of diffusers' caches, as it is no CacheMixin; {INSTEAD}")
    if is_compiled(model):
        raise UnsupportedError(f"{cls} is compiled, so no hook of a cache would run; attach first, then compile")
    kinds = {
        type(hook).__module__.rpartition(".")[2] for module in model.modules() for hook in hooks_of(module).values()
    }
    if getattr(model, "is_cache_enabled", False) or any("cache" in kind or "pyramid" in kind for kind in kinds):
        raise UnsupportedError(
            f"{cls} has a cache of diffusers enabled already; close its handle or call disable_cache() first"
        )
    if KINDS[wish.name].keeps_blocks:
        _check_blocks(model, wish.name)


def _check_blocks(model: Any, name: str) -> None:
    """UnsupportedError where the library cannot pass over this model's blocks, or passes over them wrongly."""
    cls, blocks = type(model).__name__, library_blocks(model)
    if len(blocks) < (2 if name == "first-block" else 1):
        raise UnsupportedError(f"{cls} has {len(blocks)} blocks, too few for {name}; {INSTEAD}")
    between = next((what for base in type(model).__mro__ if (what := _BETWEEN_BLOCKS.get(base.__name__))), None)
    if between:
        raise UnsupportedError(f"{cls} adds {between} between its blocks, which {name} would add twice; {_OTHERS}")
    if "temporal_transformer_blocks" in dict(model.named_children()):
        raise UnsupportedError(
            f"{cls}: spatial and temporal blocks alternate, on different shapes, which breaks {name}; {_OTHERS}"
        )
    for block in {type(block) for block in blocks}:
        _check_block(cls, block, name)
    inputs = inspect.signature(model.forward).parameters
    if (
        name == "seacache"
        and "hidden_states" in inputs
        and ("num_frames" in inputs or not hasattr(model.config, "in_channels"))
    ):
        raise UnsupportedError(
            f"{cls} shows seacache no latents of known channels, frames and size to filter; {_OTHERS}"
        )


def _check_block(cls: str, block: Any, name: str) -> None:
    """A class of blocks: the library must know its argument positions, under the names that the cache asks for."""
    from diffusers.hooks._helpers import TransformerBlockRegistry

    try:
        metadata = TransformerBlockRegistry.get(block)
    except ValueError:
        raise UnsupportedError(
            f"{cls}: its {block.__name__} is not in diffusers' registry, so {name} raises; {_OTHERS}"
        ) from None
    wanted = ["hidden_states" if name == "first-block" else metadata.hidden_states_argument_name]
    if metadata.return_encoder_hidden_states_index is not None:
        wanted.append(metadata.encoder_hidden_states_argument_name if name == "seacache" else "encoder_hidden_states")
    missing = [argument for argument in wanted if argument not in inspect.signature(block.forward).parameters]
    if missing:
        raise UnsupportedError(
            f"{cls}: its {block.__name__} takes no {missing[0]!r}, which diffusers' {name} asks for; {_OTHERS}"
        )


def check_latents(model: nn.Module, given: dict[str, Any], name: str) -> int:
    """The batch of latents that must have five axes, for a cache that transforms them."""
    shape = list(getattr(given.get("hidden_states"), "shape", ()))
    if len(shape) != 5:
        raise UnsupportedError(
            f"{type(model).__name__} is given latents {shape}; {name} needs 5 axes; use first-block or pab"
        )
    return int(shape[0])


def check_halves(model: nn.Module, given: dict[str, Any]) -> None:
    """FasterCache halves a few named inputs along the batch, and nothing else."""
    from diffusers.hooks.faster_cache import _UNCOND_COND_INPUT_KWARGS_IDENTIFIERS as halved

    batch = check_latents(model, given, "fastercache with guidance")
    if batch % 2:
        raise InputError(f"a batch of {batch} is no pair of guidance halves, which fastercache expects; {APART}")
    for name, value in given.items():
        size = value.shape[0] if isinstance(value, torch.Tensor) and value.ndim else 0
        if name in halved and size != batch:
            raise InputError(
                f"fastercache halves {name} along the batch of {batch}, but it is {type(value).__name__} of {size}; {APART}"
            )
        if name not in halved and size == batch:
            raise UnsupportedError(
                f"fastercache does not halve {name} of {type(model).__name__} with the guidance's halves; {APART}"
            )


def make_config(model: nn.Module, wish: Wish, timestep: Callable[[], float]) -> Any:
    """The library's settings for this model."""
    from diffusers import hooks

    make = getattr(hooks, KINDS[wish.name].config, None)
    if make is None:
        raise UnsupportedError(
            f"the installed diffusers has no {wish.name}; update diffusers to 0.42 or use first-block or pab"
        )
    value = wish.cache.value or 0
    if wish.name == "first-block":
        return make(threshold=value)
    if wish.name == "seacache":
        plain = (
            "hidden_states" in inspect.signature(model.forward).parameters
        )  # others the library reads by itself, or refuses
        return make(threshold=value, raw_vision_callback=_raw_vision if plain else None)
    if (
        wish.name == "magcache" and wish.mag_ratios is None
    ):  # never at its end, where the library would print and forget the ratios
        return make(calibrate=True, num_inference_steps=sys.maxsize)
    if wish.name == "magcache":
        return make(threshold=value, num_inference_steps=wish.steps, mag_ratios=list(wish.mag_ratios or ()))
    if wish.name == "taylorseer":
        return make(
            cache_interval=value,
            taylor_factors_dtype=next(model.parameters()).dtype,
            cache_identifiers=_taylor_names(model),
        )
    spatial_temporal = {f"{kind}_attention_block_skip_range": value for kind in ("spatial", "temporal")}
    if wish.name == "pab":
        return make(current_timestep_callback=timestep, cross_attention_block_skip_range=value, **spatial_temporal)
    return make(
        current_timestep_callback=timestep, attention_weight_callback=lambda _: 0.5, is_guidance_distilled=wish.distilled,
        unconditional_batch_skip_range=1 if value == 1 else 2 * value + 1, **spatial_temporal,
    )  # fmt: skip


def _taylor_names(model: nn.Module) -> list[str]:
    """Patterns of the attention and feed-forward modules in a model's blocks; the library's own pattern misses `attn1`
    and `attn2`."""
    from diffusers.hooks._common import _ATTENTION_CLASSES, _FEEDFORWARD_CLASSES

    within = {module for block in library_blocks(model) for module in block.modules()}
    kinds = (*_ATTENTION_CLASSES, *_FEEDFORWARD_CLASSES)
    return [re.escape(name) for name, module in model.named_modules() if module in within and isinstance(module, kinds)]


def _raw_vision(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor] | None:
    """SeaCache's latents: one [channel, frame, height, width] a sample, of the noisy channels alone, which come
    first."""
    latents = inspect.signature(type(model).forward).bind_partial(model, *args, **kwargs).arguments["hidden_states"]
    channels = model.config.in_channels
    axis = 2 if latents.shape[1] != channels and latents.shape[2] == channels else 1
    noisy = min(channels, getattr(model.config, "out_channels", None) or channels)
    return list(latents.movedim(axis, 1).narrow(1, 0, noisy).unbind(0))


def hooks_of(module: nn.Module) -> dict[str, Any]:
    """The library's hooks on a module, by name; a copy, as of now."""
    registry = vars(module).get("_diffusers_hook")
    return {} if registry is None else dict(registry.hooks)
