"""Building of the cut that a configuration names, in one model."""

from __future__ import annotations

from torch import nn

from videogen.core.lazy import load_object

from .config import StepCaching
from .cut import Cut
from .cut_kinds import parse_cut


def build_cut(model: nn.Module, config: StepCaching) -> Cut:
    """The configured cut. UnsupportedError if the model has no such cut, InputError if its numbers do not fit."""
    predictor = config.predictor_kind
    kind, numbers = parse_cut(config.boundary)
    if kind.builder is None:
        kind, numbers = parse_cut(predictor.default_cut)
    assert kind.builder is not None
    cut: Cut = load_object(kind.builder, __package__)(model, numbers, predictor)
    return cut
