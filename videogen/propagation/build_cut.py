"""Building of the cut that a configuration names: in one model of diffusers, or for another host."""

from __future__ import annotations

from torch import nn

from videogen.core.errors import UnsupportedError
from videogen.core.lazy import load_object

from .config import StepCaching
from .cut import Cut
from .cut_kinds import CutKind, parse_cut


def build_cut(model: nn.Module, config: StepCaching) -> Cut:
    """The configured cut. UnsupportedError if the model has no such cut, InputError if its numbers do not fit."""
    kind, numbers = _kind_of(config)
    assert kind.builder is not None
    cut: Cut = load_object(kind.builder, __package__)(model, numbers, config.predictor_kind)
    return cut


def build_host_cut(config: StepCaching, blocks: int | None = None) -> Cut:
    """The configured cut for a host that runs the model itself. blocks: number of blocks that the host taps, if any.

    UnsupportedError for cuts of a UNet, InputError if blocks are needed and not given, or too few.
    """
    kind, numbers = _kind_of(config)
    if kind.host_builder is None:
        raise UnsupportedError(
            f"boundary={config.boundary!r} is cut into a UNet of diffusers, by its layers; use output or blocks:1,1"
        )
    cut: Cut = load_object(kind.host_builder, __package__)(blocks, numbers, config.predictor_kind)
    cut.copies = True
    return cut


def _kind_of(config: StepCaching) -> tuple[CutKind, tuple[int, ...]]:
    kind, numbers = parse_cut(config.boundary)
    return (kind, numbers) if kind.builder is not None else parse_cut(config.predictor_kind.default_cut)
