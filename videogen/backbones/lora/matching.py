"""Matching of a LoRA file with a model: which layer each pair of matrices belongs to, and whether it fits.

A layer of n inputs and m outputs takes a down matrix [rank, n] and an up matrix [m, rank] (of a convolution [rank, n,
kernel] and [m, rank, 1]). What no layer has is counted and named; a file of another model is refused. Shapes suffice:
a file's header, and a model without weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from videogen.core.errors import CheckpointError, InputError

from .keys import ALPHA, BIAS, DOWN, SECOND_DENOISER, UP, other_kind, read_key
from .layer_names import LayerNames
from .spec import EXPERTS, Lora

#: names of unknown keys that are recorded
_RECORDED_KEYS = 8
_ADAPTABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass
class LayerMatch:
    """The tensors of one layer: the keys in the file, by part."""

    keys: dict[str, str] = field(default_factory=dict)
    rank: int = 0


@dataclass
class Match:
    """A file on a model. layers: component -> layer -> its tensors; unknown: keys that no layer has; layout: of the
    keys."""

    layout: str
    layers: dict[str, dict[str, LayerMatch]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Number of layers that the file changes."""
        return sum(len(layers) for layers in self.layers.values())

    def to_dict(self) -> dict[str, Any]:
        """For the manifest: the layout, how many layers by component, the ranks, and what is not used."""
        used = sum(len(match.keys) for layers in self.layers.values() for match in layers.values())
        ranks = sorted({match.rank for layers in self.layers.values() for match in layers.values()})
        found: dict[str, Any] = {
            "layout": self.layout,
            "layers": {name: len(layers) for name, layers in self.layers.items() if layers},
            "ranks": ranks,
            "keys": {"used": used, "unknown": len(self.unknown)},
        }
        return found | ({"unknown_keys": self.unknown[:_RECORDED_KEYS]} if self.unknown else {})


def adaptable_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers that a LoRA may change, by name: linear layers and convolutions, those of them that have LoRAs
    already under the layer's own name."""
    found: dict[str, nn.Module] = {}
    for name, module in getattr(model, "_orig_mod", model).named_modules():
        if isinstance(module, _ADAPTABLE) and ".lora_" not in f".{name}":
            found[name.removesuffix(".base_layer")] = module
    return found


class Target:
    """The models of a pipeline that LoRAs change: its denoisers, and its text encoders.

    denoisers: by the pipeline's name for them, in the order of the experts; others: text encoders and connectors.
    """

    def __init__(self, denoisers: Mapping[str, nn.Module], others: Mapping[str, nn.Module]) -> None:
        self.denoisers = tuple(denoisers)
        self.models = {**denoisers, **others}
        self.layers = {name: adaptable_layers(model) for name, model in self.models.items()}
        self._names = {
            name: LayerNames(type(getattr(model, "_orig_mod", model)).__name__, self.layers[name])
            for name, model in self.models.items()
        }

    def components(self, lora: Lora, second: bool) -> tuple[str, ...]:
        """The denoisers that a tensor goes to. second: whether the file says that it is the second denoiser's."""
        if second:
            return self.denoisers[1:2]
        if lora.expert is None:
            return self.denoisers
        return (self.denoisers[EXPERTS.index(lora.expert)],)

    def find(self, component: str, layer: str, *, flat: bool) -> str | None:
        """The model's name of a layer; None where the component or the layer is not there."""
        names = self._names.get(component)
        return None if names is None else names.find(layer, flat=flat)


def match(lora: Lora, path: Path, shapes: Mapping[str, tuple[int, ...]], target: Target) -> Match:
    """Where each tensor of a file belongs. CheckpointError for a file that is not a plain LoRA, of another model or
    size, or damaged; InputError for an expert that the model does not have."""
    check_kind(lora, path, shapes, target)
    found = assign(lora, shapes, target)
    check_fits(found, path, shapes, target)
    return found


def check_kind(lora: Lora, path: Path, shapes: Iterable[str], target: Target) -> None:
    """CheckpointError for an adapter that is not a plain LoRA; InputError where the LoRA is for one of two experts and
    the model has one denoiser."""
    if lora.expert is not None and len(target.denoisers) < len(EXPERTS):
        raise InputError(
            f"the LoRA {lora.expert}={lora.name} is for one of two experts, and this model has a single denoiser; "
            f"leave out {lora.expert}="
        )
    kind = next((kind for key in shapes if (kind := other_kind(key))), None)
    if kind is not None:
        raise CheckpointError(
            f"{path} is a {kind}, whose weights are not the product of two matrices; use a plain LoRA, or merge it "
            "into the model's weights"
        )


def assign(lora: Lora, shapes: Mapping[str, tuple[int, ...]], target: Target) -> Match:
    """The layers of a file's tensors, by name alone."""
    found = Match("")
    has_second = any((key := read_key(name)) and key.component == SECOND_DENOISER for name in shapes)
    for name in shapes:
        key = read_key(name)
        if key is None:
            found.unknown.append(name)
            continue
        found.layout = found.layout or key.layout
        components: tuple[str, ...] = (key.component,)
        if key.component in ("denoiser", SECOND_DENOISER):
            components = target.components(lora, key.component == SECOND_DENOISER)
            if has_second and key.component == "denoiser" and lora.expert is None:
                components = components[:1]
        places = [(one, layer) for one in components if (layer := target.find(one, key.layer, flat=key.flat))]
        if not places:
            found.unknown.append(name)
        for component, layer in places:
            layers = found.layers.setdefault(component, {})
            layers.setdefault(layer, LayerMatch()).keys[key.part] = name
    _drop_incomplete(found)
    return found


def _drop_incomplete(found: Match) -> None:
    """Layers without both matrices are not used."""
    for layers in found.layers.values():
        for name, layer in list(layers.items()):
            if not {DOWN, UP} <= layer.keys.keys():
                found.unknown += [key for key in layer.keys.values() if key not in found.unknown]
                del layers[name]
    found.layers = {name: layers for name, layers in found.layers.items() if layers}


def check_fits(found: Match, path: Path, shapes: Mapping[str, tuple[int, ...]], target: Target) -> None:
    """CheckpointError where a file has nothing for this model, mostly layers of another one, or other shapes."""
    kinds = ", ".join(type(target.models[name]).__name__ for name in target.denoisers[:1])
    if not found.count:
        example = found.unknown[0] if found.unknown else "no tensor"
        raise CheckpointError(
            f"{path} has no weights for a layer of this model's {kinds} ({example}); it is a LoRA of another model: "
            "use one of this model"
        )
    for component, layers in found.layers.items():
        for name, layer in layers.items():
            _check_layer(path, component, name, layer, shapes, target.layers[component][name])
    if len(found.unknown) > sum(len(layer.keys) for layers in found.layers.values() for layer in layers.values()):
        raise CheckpointError(
            f"{path}: {len(found.unknown)} of {len(shapes)} tensors, such as {found.unknown[0]}, are of layers that "
            f"this model's {kinds} does not have; it is a LoRA of another model: use one of this model"
        )


def _check_layer(
    path: Path, component: str, name: str, layer: LayerMatch, shapes: Mapping[str, tuple[int, ...]], module: nn.Module
) -> None:
    down, up = shapes[layer.keys[DOWN]], shapes[layer.keys[UP]]
    if len(down) < 2 or len(up) < 2 or down[0] != up[1] or not down[0]:
        raise CheckpointError(
            f"{path} is damaged: {name} has a down matrix {list(down)} and an up matrix {list(up)}, whose ranks "
            "differ; copy it again"
        )
    layer.rank = down[0]
    inputs, outputs, kernel = _sides(module)
    fits = down[1] == inputs and up[0] == outputs and _fits_kernel(down[2:], kernel) and math.prod(up[2:]) == 1
    bias = shapes.get(layer.keys.get(BIAS, ""), (outputs,))
    if not fits or bias != (outputs,):
        raise CheckpointError(
            f"{path} does not fit this model: its {component}.{name} takes {inputs} values and gives {outputs}, and "
            f"the matrices of the LoRA are {list(down)} and {list(up)}; it is a LoRA of another model or size: use one "
            "of this model"
        )
    alpha = shapes.get(layer.keys.get(ALPHA, ""), ())
    if math.prod(alpha) != 1:
        raise CheckpointError(f"{path} is damaged: alpha of {name} has the shape {list(alpha)}; copy it again")


def _sides(module: nn.Module) -> tuple[int, int, tuple[int, ...]]:
    """(inputs per group, outputs, kernel) of a layer."""
    weight: Any = module.weight
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features, ()
    return int(weight.shape[1]), int(weight.shape[0]), tuple(weight.shape[2:])


def _fits_kernel(given: tuple[int, ...], kernel: tuple[int, ...]) -> bool:
    """A down matrix may leave out the sides of a kernel of 1, or have them where the layer is linear."""
    return given == kernel or (math.prod(given) == 1 and math.prod(kernel) == 1)
