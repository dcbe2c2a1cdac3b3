"""Precision of one component as it is loaded: the library's configuration before, or the quantization after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from videogen.core.errors import InputError, UnsupportedError
from videogen.core.lazy import load_object

from .layerwise_casting import cast_layers
from .quantizing import quantize
from .selection import find_quantizable
from .table import DENOISERS, Precision
from .weight_format import WeightFormat

Chosen = Mapping[str, Precision | WeightFormat]
#: whose modules are those of a model that no library has quantized
_UNCHANGED = ("torch", "diffusers", "transformers")


def precision_of(component: str, chosen: Chosen) -> Precision | WeightFormat | None:
    """Of a component of a pipeline; None for the dtype of the run."""
    own = chosen.get(component)
    if own is None and component.startswith(("transformer", "unet")):
        own = chosen.get(DENOISERS)
    return None if isinstance(own, Precision) and own.dtype else own


def check_components(chosen: Chosen, classes: Mapping[str, str], with_weights: Iterable[str]) -> None:
    """InputError for a component that the model does not have, or that has no weights. classes: of all components by
    name."""
    known = list(with_weights)
    unknown = next((name for name in chosen if name not in (DENOISERS, *known)), None)
    if unknown is not None:
        has = f"a {classes[unknown]} has no weights" if unknown in classes else "the model has no such component"
        raise InputError(f"precision of {unknown!r}: {has}; give it for one of {', '.join(known)}")


def library_options(row: Precision | WeightFormat | None, library: str, dtype: torch.dtype) -> dict[str, Any]:
    """What `from_pretrained` is given, where a library quantizes while it loads. library: `diffusers`, `transformers`
    or the folder of a pipeline."""
    if not isinstance(row, Precision) or not row.config:
        return {}
    build = load_object(row.config, __package__)
    return {"quantization_config": build("transformers" if library == "transformers" else "diffusers", dtype)}


def apply(row: Precision | WeightFormat | None, model: Any, component: str, dtype: torch.dtype) -> None:
    """Change a loaded model to a precision that is not a library's, and check that a library has applied its own.
    UnsupportedError where it has no layers for it."""
    if isinstance(row, Precision) and row.config:
        _check_quantized(row, model, component)
    elif isinstance(row, WeightFormat):
        if not find_quantizable(model):
            raise UnsupportedError(
                f"precision={row.name!r}: {component} ({type(model).__name__}) has no linear layers in blocks to "
                "quantize; leave this component out"
            )
        quantize(model, row)
    elif row is not None:
        if not hasattr(model, "enable_layerwise_casting"):
            raise UnsupportedError(
                f"precision={row.name!r}: {component} ({type(model).__name__}) cannot cast layer by layer; int8 works "
                "for it"
            )
        cast_layers(model, dtype)


def _check_quantized(row: Precision, model: torch.nn.Module, component: str) -> None:
    """Libraries leave out layers that are too small or that they do not know, without an error."""
    if not any(_is_changed(layer) for layer in model.modules()):
        raise UnsupportedError(
            f"precision={row.name!r}: its library has quantized no layer of {component} ({type(model).__name__}); "
            "leave it out, or use a precision of videogen's own, such as int8"
        )


def _is_changed(layer: torch.nn.Module) -> bool:
    """Whether a library has replaced a layer, or its weight."""
    weight = getattr(layer, "weight", None)
    if not isinstance(weight, torch.Tensor):
        return False
    foreign = type(layer).__module__.partition(".")[0] not in _UNCHANGED
    return foreign or type(weight) is not torch.nn.Parameter or not weight.is_floating_point()
