"""Planned model: a backbone without values, whose calls allocate nothing, and the weights of each of its components."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from videogen.backbones.base import Backbone
from videogen.backbones.load_options import LoadOptions
from videogen.backbones.registry import find_sources, load_outline
from videogen.core.errors import CheckpointError

from .fake_model import fake_mode, make_fake
from .stored_weights import StoredWeights, measure_stored, read_stored

_DEFAULTS = LoadOptions()


@dataclass(frozen=True)
class PlannedModel:
    """backbone: over an outline with fake weights; encoders: of texts and images, by name; dtype: of all of them;
    stored: of components that are stored in another form."""

    backbone: Backbone
    encoders: dict[str, nn.Module]
    dtype: torch.dtype
    stored: Mapping[str, StoredWeights] = field(default_factory=dict)
    mode: FakeTensorMode = field(default_factory=fake_mode)

    def __post_init__(self) -> None:
        for module in self.modules().values():
            make_fake(module, self.mode, self.dtype)

    def modules(self) -> dict[str, nn.Module]:
        """All components with weights, by name."""
        return self.backbone.components() | self.encoders

    @property
    def can_cast(self) -> bool:
        """Whether the denoisers' layers can be stored in fp8: none of them is quantized."""
        return all(
            hasattr(part, "enable_layerwise_casting") and not (name in self.stored and self.stored[name].quantized)
            for name, part in self.denoisers().items()
        )

    def denoisers(self) -> dict[str, nn.Module]:
        """Those of the components that predict, by name."""
        own = self.backbone.denoisers()
        return {name: part for name, part in self.backbone.components().items() if any(part is one for one in own)}


def read_planned_model(
    name: str, dtype: torch.dtype, options: LoadOptions = _DEFAULTS, *, online: bool = False
) -> PlannedModel:
    """A model by name, folder, file or hub id, from its configuration files alone. options: where its components come
    from. CheckpointError where the files do not suffice."""
    from videogen.backbones.weight_outline import build_encoders, read_tokenizer_limit

    sources = find_sources(name, options, online=online)
    outline = load_outline(name, options, online=online)
    if outline is None or sources is None:
        raise CheckpointError(
            f"{name!r} cannot be planned: its configuration files are not on this machine, or describe no model that "
            "can be built; give a folder, or allow them to be fetched"
        )
    limit = read_tokenizer_limit(sources.base)
    if limit is not None and getattr(outline.pipeline, "tokenizer", None) is None:
        vars(outline.pipeline)["tokenizer"] = SimpleNamespace(model_max_length=limit)
    encoders = build_encoders(sources.base, sources.index, online=online)
    return PlannedModel(outline, encoders, dtype, read_stored(sources, outline.components() | encoders))


def plan_loaded_model(backbone: Backbone) -> PlannedModel:
    """A model that is loaded, from its configurations: its weights are not touched."""
    from videogen.backbones.weight_outline import outline_pipeline

    pipeline, encoders = outline_pipeline(backbone.pipeline)
    family: Any = type(backbone)
    outline = family(pipeline, backbone.name, backbone.digest)
    outline.defaults, outline.training = backbone.defaults, backbone.training
    outline.sources, outline.revisions = backbone.sources, backbone.revisions
    stored = {name: measure_stored(part) for name, part in backbone.components().items()}
    return PlannedModel(outline, encoders, backbone.dtype, stored)
