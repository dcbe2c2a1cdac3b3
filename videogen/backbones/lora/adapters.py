"""LoRAs on one loaded model: injected for a render next to its layers, weighted per step, and removed without a trace.

Matrices are never added to the model's weights ("fused"), so that the model is bit-identical afterwards: each layer
x -> y becomes x -> y + weight * alpha / rank * up(down(x)) through diffusers' adapter loader and peft, and the layer
itself is put back at the end. A LoRA of weight 0 is not computed at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from videogen.core.denoisers import find_denoisers
from videogen.core.errors import InputError
from videogen.core.logs import log_note

from .cache import LayerWeights, WeightCache, Weights
from .claims import claim
from .lora_file import TensorFile
from .matching import Match, Target, match
from .reading import read_lora_file, read_weights
from .spec import Lora
from .support import check_peft, check_supported

if TYPE_CHECKING:
    from videogen.backbones.base import Backbone

_OTHERS = ("text_encoder", "text_encoder_2", "connectors")
_PREFIX = "videogen_"
_NAMED_KEYS = 3


@dataclass(frozen=True)
class _Foreign:
    """A layer that has adapters of the user. active: those that are on; disabled: whether all are off."""

    module: Any
    active: tuple[str, ...]
    disabled: bool

    @property
    def used(self) -> list[str]:
        """The adapters that it computes."""
        return [] if self.disabled else list(self.active)

    def restore(self) -> None:
        """As the user had it."""
        self.module.set_adapter(list(self.active))
        if self.disabled:
            self.module.enable_adapters(enabled=False)


@dataclass
class _Layer:
    """A layer with LoRAs. foreign: adapters that the user had active on it; own: numbers of this render's LoRAs."""

    module: Any
    foreign: list[str]
    own: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Applied:
    """One LoRA of a render, as the manifest records it."""

    lora: Lora
    file: TensorFile
    match: Match
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        given = self.lora.to_dict() | {"file": str(self.file.path), "sha256": self.file.sha256}
        found = {"name": self.file.path.name} | {name: value for name, value in given.items() if value is not None}
        return found | self.match.to_dict() | ({"notes": list(self.notes)} if self.notes else {})


class Adapters:
    """The LoRAs of a backbone. `apply` is a context; within it, `set_weights` changes how strong each one is."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self._cache = WeightCache()
        self._matches: dict[Any, Match] = {}
        self._layers: list[_Layer] = []  # of the denoisers
        self._foreign: list[_Foreign] = []
        self._weights: tuple[float, ...] = ()
        self.applied: tuple[Applied, ...] = ()

    @property
    def records(self) -> list[dict[str, Any]]:
        """Of each LoRA, for the manifest."""
        return [one.to_dict() for one in self.applied]

    @property
    def change_model(self) -> bool:
        """Whether a LoRA is applied whose weight is not 0."""
        return any(one.lora.weight for one in self.applied)

    @property
    def notes(self) -> list[str]:
        """What a user should know about the LoRAs that are applied."""
        return [note for one in self.applied for note in one.notes]

    def check(self, loras: Sequence[Lora]) -> None:
        """Raise what `apply` raises for files that do not fit, from their headers; also for a model without weights.
        A layout that only diffusers' converter knows passes."""
        if not loras:
            return
        target = self._target()
        for lora in loras:
            file = read_lora_file(lora)
            if hasattr(type(self._backbone.pipeline), "lora_state_dict") and _is_unknown(lora, file, target):
                continue
            match(lora, file.path, file.shapes, target)

    @contextmanager
    def apply(self, loras: Sequence[Lora]) -> Iterator[None]:
        """Inject LoRAs, each with its weight, and remove them at the end of the block.

        UnsupportedError where the model takes no LoRAs or peft is missing; CheckpointError and InputError for files
        that cannot be read or do not fit, before anything is changed; InputError within another such block, also of an
        engine that shares a model.
        """
        if not loras:
            yield
            return
        if self.applied:
            raise InputError("LoRAs are applied to this model already; end that render first")
        target = self._target()
        found = [self._read(lora, target) for lora in loras]
        changed = {name for lora, (_, _, weights) in zip(loras, found, strict=True) if lora.weight for name in weights}
        with claim({name: target.models[name] for name in changed}, self._backbone):
            yield from self._apply(loras, found, target)

    def _apply(
        self, loras: Sequence[Lora], found: Sequence[tuple[TensorFile, Match, Weights]], target: Target
    ) -> Iterator[None]:
        try:
            with torch.inference_mode(False), torch.no_grad():
                self._inject(loras, [weights for _, _, weights in found])
            self.applied = tuple(
                Applied(lora, file, matched, tuple(_notes(lora, matched)))
                for lora, (file, matched, _) in zip(loras, found, strict=True)
            )
            for note in self.notes:
                log_note("%s", note)
            self.set_weights([lora.weight for lora in loras])
            yield
        finally:
            self.applied = ()
            with torch.inference_mode(False), torch.no_grad():
                self._remove(target)

    def set_weights(self, weights: Sequence[float]) -> None:
        """The weight of each LoRA on the denoisers from the next model call on, in the order in which they were
        applied."""
        weights = tuple(weights)
        if weights == self._weights:
            return
        self._weights = weights
        for layer in self._layers:
            _set_weights(layer, weights)

    def _target(self) -> Target:
        pipeline = self._backbone.pipeline
        denoisers = find_denoisers(pipeline)
        check_supported(list(denoisers.values()), self._backbone.name)
        components = getattr(pipeline, "components", {})
        others = {name: components[name] for name in _OTHERS if isinstance(components.get(name), nn.Module)}
        return Target(denoisers, others)

    def _read(self, lora: Lora, target: Target) -> tuple[TensorFile, Match, Weights]:
        """A LoRA's file, what it changes, and its matrices in the dtype of each model."""
        check_peft()
        file = read_lora_file(lora)
        key = file.sha256, lora.expert, str(self._backbone.dtype)

        def read() -> Weights:
            with torch.inference_mode(False):
                self._matches[key], weights = read_weights(lora, file, target, self._backbone.pipeline)
                return _in_dtype_of(weights, target)

        weights = self._cache.get(key, read)
        return file, self._matches[key], weights

    def _inject(self, loras: Sequence[Lora], found: Sequence[Weights]) -> None:
        pipeline, layers = self._backbone.pipeline, {}
        denoisers = find_denoisers(pipeline)
        models = {**denoisers, **{name: getattr(pipeline, name, None) for name in _OTHERS}}
        for name, model in models.items():
            users = [number for number, weights in enumerate(found) if name in weights and loras[number].weight]
            if not users:
                continue
            inner: Any = getattr(model, "_orig_mod", model)
            foreign = _foreign_adapters(inner)
            self._foreign += foreign.values()
            for number in users:
                _inject_one(inner, f"{_PREFIX}{number}", found[number][name], pipeline)
            for one in foreign.values():  # the library has switched them off
                one.module.enable_adapters(enabled=True)
                one.module.set_adapter(one.used, inference_mode=True)
            for path, module in inner.named_modules():
                own = [number for number in users if f"{_PREFIX}{number}" in getattr(module, "lora_A", ())]
                if own:
                    layers[name, path] = _Layer(module, foreign[path].used if path in foreign else [], own)
        self._weights = ()
        self._layers = [layer for (name, _), layer in layers.items() if name in denoisers]
        constant = [lora.weight for lora in loras]
        for (name, _), layer in layers.items():
            if name not in denoisers:  # prompts are encoded once, before the first step
                _set_weights(layer, constant)

    def _remove(self, target: Target) -> None:
        self._layers, self._weights = [], ()
        for model in target.models.values():
            _remove_adapters(getattr(model, "_orig_mod", model))
        for one in self._foreign:
            one.restore()
        self._foreign = []


def _set_weights(layer: _Layer, weights: Sequence[float]) -> None:
    active = [number for number in layer.own if weights[number]]
    layer.module.set_adapter([*layer.foreign, *(f"{_PREFIX}{number}" for number in active)], inference_mode=True)
    for number in active:
        layer.module.set_scale(f"{_PREFIX}{number}", weights[number])


def _is_unknown(lora: Lora, file: TensorFile, target: Target) -> bool:
    """Whether layers of a file are not found by their names, so that the converter has to be tried."""
    from .matching import assign, check_kind

    check_kind(lora, file.path, file.shapes, target)
    return bool(assign(lora, file.shapes, target).unknown)


def _in_dtype_of(weights: Weights, target: Target) -> Weights:
    """The matrices in the dtype in which each model computes, in the form of its layers' own weights."""
    found = {}
    for component, layers in weights.items():
        dtype: Any = getattr(target.models[component], "dtype", torch.float32)
        modules = target.layers[component]
        found[component] = {name: _fit_to_layer(layer, modules[name], dtype) for name, layer in layers.items()}
    return found


def _fit_to_layer(layer: LayerWeights, module: nn.Module, dtype: torch.dtype) -> LayerWeights:
    weight: Any = module.weight
    kernel = () if isinstance(module, nn.Linear) else tuple(weight.shape[2:])
    down = layer.down.to(dtype).reshape(*layer.down.shape[:2], *kernel).contiguous()
    up = layer.up.to(dtype).reshape(*layer.up.shape[:2], *(1 for _ in kernel)).contiguous()
    alpha = layer.alpha
    if not alpha:  # only the bias is added
        up, alpha = torch.zeros_like(up), float(layer.rank)
    # a bias is added as it is, but peft scales it with the product
    bias = None if layer.bias is None else (layer.bias.float() * (layer.rank / alpha)).to(dtype)
    return LayerWeights(down, up, alpha, bias)


def _inject_one(model: Any, name: str, layers: Mapping[str, LayerWeights], pipeline: Any) -> None:
    """One LoRA, by diffusers' loader where the model has it."""
    state: dict[str, torch.Tensor] = {}
    has_bias = any(layer.bias is not None for layer in layers.values())
    for path, layer in layers.items():
        state[f"{path}.lora_A.weight"], state[f"{path}.lora_B.weight"] = layer.down, layer.up
        if has_bias:
            state[f"{path}.lora_B.bias"] = layer.up.new_zeros(layer.up.shape[0]) if layer.bias is None else layer.bias
    config = _config(layers, has_bias)
    if hasattr(model, "load_lora_adapter"):
        model.load_lora_adapter(
            state, prefix=None, adapter_name=name, metadata=config, _pipeline=pipeline, low_cpu_mem_usage=True
        )
        _restore_dtype(model, name, layers)
        return
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict

    inject_adapter_in_model(LoraConfig(**config), model, adapter_name=name, state_dict=state, low_cpu_mem_usage=True)
    set_peft_model_state_dict(model, state, name, low_cpu_mem_usage=True)


def _restore_dtype(model: Any, name: str, layers: Mapping[str, LayerWeights]) -> None:
    """Matrices that were cast to the dtype in which a layer's weight is stored, such as fp8, in their own again."""
    changed = False
    for path, layer in layers.items():
        module = model.get_submodule(path)
        for part, matrix in ((module.lora_A[name], layer.down), (module.lora_B[name], layer.up)):
            if part.weight.dtype != matrix.dtype:
                part.weight = nn.Parameter(matrix.to(part.weight.device), requires_grad=False)
                changed = True
    if changed:
        _restore_group_offload(model)


def _config(layers: Mapping[str, LayerWeights], has_bias: bool) -> dict[str, Any]:
    """Arguments of peft's `LoraConfig`: rank and alpha of each layer."""
    first = next(iter(layers.values()))
    patterns = {path: "^" + re.escape(path) for path in layers}
    return {
        "r": first.rank,
        "lora_alpha": first.alpha,
        "rank_pattern": {patterns[path]: layer.rank for path, layer in layers.items() if layer.rank != first.rank},
        "alpha_pattern": {patterns[path]: layer.alpha for path, layer in layers.items() if layer.alpha != first.alpha},
        "target_modules": list(layers),
        "lora_bias": has_bias,
        "inference_mode": True,
    }


def _foreign_adapters(model: nn.Module) -> dict[str, _Foreign]:
    """The layers that have adapters already, by name. InputError where some are fused."""
    found: dict[str, _Foreign] = {}
    for path, module in model.named_modules():
        if not hasattr(module, "lora_A") or not hasattr(module, "base_layer"):
            continue
        if getattr(module, "merged", False):
            raise InputError(
                f"{type(model).__name__} has LoRAs that are fused into its weights but still attached; unfuse them, or "
                "call unload_lora_weights() of the pipeline"
            )
        found[path] = _Foreign(module, tuple(module.active_adapters), bool(getattr(module, "disable_adapters", False)))
    return found


def _remove_adapters(model: Any) -> None:
    """Take the LoRAs of a render off a model: layers that had none before are put back as they were."""
    names = [name for name in getattr(model, "peft_config", {}) if name.startswith(_PREFIX)]
    replaced: list[tuple[nn.Module, str, nn.Module]] = []
    for parent in model.modules():
        for name, module in parent.named_children():
            own = [key for key in getattr(module, "lora_A", ()) if key.startswith(_PREFIX)]
            if own and hasattr(module, "base_layer"):
                for key in own:
                    module.delete_adapter(key)
                if not len(module.lora_A):
                    replaced.append((parent, name, module.get_base_layer()))
    for parent, name, layer in replaced:
        setattr(parent, name, layer)
    for name in names:
        model.peft_config.pop(name, None)
    if names and not model.peft_config:
        del model.peft_config
        model._hf_peft_config_loaded = False
    if names:
        _restore_group_offload(model)


def _restore_group_offload(model: Any) -> None:
    """Group offloading knows the modules of a model: it is set up again for those that are back."""
    from diffusers.hooks import group_offloading

    restore: Callable[[Any], None] | None = getattr(
        group_offloading, "_maybe_remove_and_reapply_group_offloading", None
    )
    if restore is not None and hasattr(model, "_diffusers_hook"):
        restore(model)


def _notes(lora: Lora, found: Match) -> Iterator[str]:
    """What a user should know about one LoRA on this model."""
    if not lora.weight:
        yield f"the LoRA {lora.name} has weight 0: it is not applied"
    if found.unknown:
        names = ", ".join(found.unknown[:_NAMED_KEYS])
        more = f" and {len(found.unknown) - _NAMED_KEYS} more" if len(found.unknown) > _NAMED_KEYS else ""
        yield f"the LoRA {lora.name} has {len(found.unknown)} tensors for which this model has no layer: {names}{more}"
    texts = [name for name in found.layers if name.startswith("text_encoder")]
    if texts and not lora.is_constant:
        yield f"the LoRA {lora.name} also changes the text encoder, which runs once: there it is on throughout"
    if lora.expert is None and len([name for name in found.layers if name.startswith("transformer")]) > 1:
        label = next((one for one in ("high", "low") if f"{one}_noise" in lora.name.lower().replace("-", "_")), None)
        if label is not None:
            yield f"the LoRA {lora.name} is on both experts, and its name says {label} noise: write {label}={lora.name}"
