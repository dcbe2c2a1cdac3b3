"""Resident weights: bytes of weights on the device at each stage of a render, under a residency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from videogen.backbones.precision.component import precision_of
from videogen.backbones.precision.table import parse_precision
from videogen.backbones.residency import Residency

from .planned_model import PlannedModel
from .stage_counts import DECODE, DENOISE, TEXT
from .stored_weights import StoredWeights
from .weights import FP8_STORAGE, ComponentWeights, measure_weights

#: groups on the device at once where the next one is copied meanwhile
_WITH_PREFETCH = 2


@dataclass(frozen=True)
class ModelWeights:
    """Weights by component; fp8: of the denoisers, with their layers stored in 8 bits."""

    plain: Mapping[str, ComponentWeights]
    fp8: Mapping[str, ComponentWeights]
    encoders: tuple[str, ...]
    denoisers: tuple[str, ...]
    decoders: tuple[str, ...]

    def under(self, residency: Residency) -> dict[str, ComponentWeights]:
        return {**self.plain, **(self.fp8 if residency.fp8 else {})}

    def computing(self, stage: str) -> tuple[str, ...]:
        return {TEXT: self.encoders, DENOISE: self.denoisers, DECODE: self.decoders}[stage]


def weigh(model: PlannedModel, precision: str | None = None) -> ModelWeights:
    """The weights of a model's components. precision: as `LoadOptions` has it."""
    chosen = parse_precision(precision) if precision else {}
    modules: dict[str, nn.Module] = model.modules()
    stored = model.stored
    denoisers = tuple(model.denoisers())
    rest = tuple(name for name in modules if name not in denoisers and name not in model.encoders)
    return ModelWeights(
        {
            name: measure_weights(part, precision_of(name, chosen), stored.get(name, StoredWeights()))
            for name, part in modules.items()
        },
        {name: measure_weights(modules[name], FP8_STORAGE) for name in denoisers} if model.can_cast else {},
        tuple(model.encoders),
        denoisers,
        rest,
    )


def resident_bytes(weights: ModelWeights, residency: Residency, stage: str) -> int:
    """Bytes of weights on the device during a stage."""
    sizes, names = weights.under(residency), weights.computing(stage)
    if residency.placement == "device":
        return sum(size.total for size in sizes.values())
    if residency.placement == "text-freed":
        freed = () if stage == TEXT else weights.encoders
        return sum(size.total for name, size in sizes.items() if name not in freed)
    if residency.placement == "model":
        return max((sizes[name].total for name in names), default=0)
    by_block = residency.placement == "block" and stage == DENOISE
    return max((_grouped(sizes[name], by_block) for name in names), default=0)


def transferred_bytes(weights: ModelWeights, residency: Residency, stage: str) -> int:
    """Bytes of weights that are copied to the device for one repetition of a stage."""
    sizes = weights.under(residency)
    if residency.placement in ("device", "text-freed"):
        return 0
    return max((sizes[name].total for name in weights.computing(stage)), default=0)


def _grouped(size: ComponentWeights, by_block: bool) -> int:
    group = size.largest_block if by_block else size.largest_leaf
    outside = size.outside_blocks if by_block else 0
    return min(size.total, outside + _WITH_PREFETCH * group)
