"""From a configuration to a boundary through one model."""

from __future__ import annotations

from typing import Any

from videogen.core.errors import InputError, UnsupportedError

from .blocks import MiddleBlocks
from .boundary import Boundary
from .config import EncoderPropagation, parse_boundary
from .output import WholeOutput
from .unet import UnetCut, is_unet, layer_count


def make_boundary(model: Any, config: EncoderPropagation) -> Boundary:
    """Raises UnsupportedError where the model has no such boundary, InputError where its numbers do not fit."""
    kind, numbers = parse_boundary(config.boundary)
    if kind == "auto":
        kind, numbers = ("blocks", (1, 1)) if config.predictor == "probe" else ("output", ())
    order = {"hold": 0, "auto": 1, "linear": 1, "sigma": 1, "probe": 1}[config.predictor]
    if kind == "output":
        return WholeOutput(order)
    if kind == "blocks":
        front, tail = numbers
        return MiddleBlocks(model, front, tail, order, probe=config.predictor == "probe")
    if not is_unet(model):
        raise UnsupportedError(
            f"{type(model).__name__} has no encoder and decoder to cut; use max_error:E, or boundary blocks:1,1"
        )
    count = layer_count(model)
    if kind == "deepcache":
        branch = numbers[0] if numbers else 0
        if branch >= count:
            raise InputError(
                f"deepcache:{branch} is out of range for {type(model).__name__}; its branches are 0 to {count - 1}"
            )
        numbers = (branch + 1, branch + 1)
    encoder, decoder = (0, count) if kind == "fd" else numbers
    return UnetCut(model, encoder, decoder, order)
