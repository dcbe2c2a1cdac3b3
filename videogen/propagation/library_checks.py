"""Checks that one of diffusers' caches works on a model: one that does not may raise late, do nothing or give wrong
results.

The refusals and their reasons were found by running each cache on each video model of the library.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import torch
from torch import nn

from videogen.core.attachment import check_free, check_not_compiled
from videogen.core.errors import InputError, UnsupportedError

from .caches import CacheKind, CacheRequest
from .library_configs import library_blocks
from .library_hooks import has_library_cache
from .propagated_model import PropagatedModel

#: Models that add something between their blocks. The cached change of all blocks includes it: it would be added twice.
_BETWEEN_BLOCKS = {"WanVACETransformer3DModel": "control hints", "WanAnimateTransformer3DModel": "face features"}
INSTEAD = "use propagation 'max_error:0.02' or 'every:N' instead"
_OTHERS = "use pab or taylorseer, or propagation 'max_error:0.02' or 'every:N'"
SEPARATE_CALLS = "for one call per guidance branch give attach_library(..., is_guidance_distilled=True)"


def check_works(model: nn.Module, request: CacheRequest) -> None:
    """UnsupportedError if this cache does not work for this model, InputError if another attachment is in the way."""
    name = type(model).__name__
    if not hasattr(model, "enable_cache") or not hasattr(model, "cache_context"):
        if any("unet" in base.__name__.lower() for base in type(model).__mro__):
            raise UnsupportedError(
                f"{name}: diffusers has no cache for UNets; use propagation 'fd', 'deepcache:N' or 'max_error:0.02'"
            )
        raise UnsupportedError(f"{name} has none of diffusers' caches, as it is not a CacheMixin; {INSTEAD}")
    check_not_compiled(model, ())
    check_free(model, PropagatedModel)
    if has_library_cache(model):
        raise UnsupportedError(
            f"{name} has a cache of diffusers enabled already; close its handle or call disable_cache() first"
        )
    if request.kind.skips_blocks:
        _check_blocks(model, request)


def _check_blocks(model: nn.Module, request: CacheRequest) -> None:
    """UnsupportedError if the library cannot skip this model's blocks, or would do it wrongly."""
    name, cache, blocks = type(model).__name__, request.name, library_blocks(model)
    if len(blocks) < request.kind.least_blocks:
        raise UnsupportedError(f"{name} has {len(blocks)} blocks, too few for {cache}; {INSTEAD}")
    between = next((what for base in type(model).__mro__ if (what := _BETWEEN_BLOCKS.get(base.__name__))), None)
    if between:
        raise UnsupportedError(f"{name} adds {between} between its blocks, which {cache} would add twice; {_OTHERS}")
    if "temporal_transformer_blocks" in dict(model.named_children()):
        raise UnsupportedError(
            f"{name}: spatial and temporal blocks alternate, on different shapes, which breaks {cache}; {_OTHERS}"
        )
    for block in {type(block) for block in blocks}:
        _check_block(name, block, cache, request.kind)
    inputs = inspect.signature(model.forward).parameters
    known_channels = hasattr(getattr(model, "config", None), "in_channels")
    if request.kind.filters_latents and "hidden_states" in inputs and ("num_frames" in inputs or not known_channels):
        raise UnsupportedError(
            f"{name} takes no latents of known channels, frames and size, which {cache} filters; {_OTHERS}"
        )


def _check_block(name: str, block: type[nn.Module], cache: str, kind: CacheKind) -> None:
    """UnsupportedError if the library does not know the arguments of a class of blocks as the cache names them."""
    from diffusers.hooks._helpers import TransformerBlockRegistry

    try:
        metadata = TransformerBlockRegistry.get(block)
    except ValueError:
        raise UnsupportedError(
            f"{name}: its {block.__name__} is not in diffusers' registry, so {cache} raises; {_OTHERS}"
        ) from None
    fixed = kind.fixed_arguments
    wanted = ["hidden_states" if "hidden_states" in fixed else metadata.hidden_states_argument_name]
    if metadata.return_encoder_hidden_states_index is not None:
        text = "encoder_hidden_states"
        wanted.append(text if text in fixed else metadata.encoder_hidden_states_argument_name)
    missing = [argument for argument in wanted if argument not in inspect.signature(block.forward).parameters]
    if missing:
        raise UnsupportedError(
            f"{name}: its {block.__name__} takes no {missing[0]!r}, which diffusers' {cache} needs; {_OTHERS}"
        )


def check_latents(model: nn.Module, given: Mapping[str, object], cache: str) -> int:
    """The batch size of latents that must have five axes, for a cache that transforms them. UnsupportedError."""
    shape = list(getattr(given.get("hidden_states"), "shape", ()))
    if len(shape) != 5:
        raise UnsupportedError(
            f"{type(model).__name__} is given latents {shape}; {cache} needs 5 axes; use first-block or pab"
        )
    return int(shape[0])


def check_halves(model: nn.Module, given: Mapping[str, object], cache: str) -> None:
    """Check that the inputs fit FasterCache, which halves only certain named inputs along the batch.

    Raises InputError, UnsupportedError.
    """
    from diffusers.hooks.faster_cache import _UNCOND_COND_INPUT_KWARGS_IDENTIFIERS as halved

    batch = check_latents(model, given, f"{cache} with guidance")
    if batch % 2:
        raise InputError(
            f"a batch of {batch} is not a pair of guidance halves, which {cache} expects; {SEPARATE_CALLS}"
        )
    for name, value in given.items():
        size = value.shape[0] if isinstance(value, torch.Tensor) and value.ndim else 0
        if name in halved and size != batch:
            raise InputError(
                f"{cache} halves {name} along the batch of {batch}, but it is {type(value).__name__} of {size}; "
                f"{SEPARATE_CALLS}"
            )
        if name not in halved and size == batch:
            raise UnsupportedError(
                f"{cache} does not halve {name} of {type(model).__name__} with the guidance's halves; {SEPARATE_CALLS}"
            )
