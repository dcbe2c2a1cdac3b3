"""Selection of the layers that are quantized: those of a model's blocks, without what computes with the timestep.

Embeddings, the input and output projections and modulations hold few weights and decide much, so they keep the model's
dtype; time layers of the blocks too, unless requested (TFMQ-DM).
"""

from __future__ import annotations

import re

import torch

from .quantized_layers import can_quantize

_IN_BLOCKS = re.compile(r"\.\d+\.")
_TIME = re.compile(r"time_emb|norm\w*\.linear|adaln|ada_norm|modulation|scale_shift", re.IGNORECASE)
_FEWEST_WEIGHTS = 256


def find_quantizable(model: torch.nn.Module, *, time_layers: bool = False) -> dict[str, torch.nn.Module]:
    """name -> layer of the linear layers and convolutions that are quantized. time_layers: also those that compute a
    block's modulation from the timestep."""
    return {
        name: layer
        for name, layer in model.named_modules()
        if can_quantize(layer)
        and _IN_BLOCKS.search(name)
        and layer.weight.numel() >= _FEWEST_WEIGHTS  # type: ignore[operator, union-attr]
        and (time_layers or not is_time_layer(name))
    }


def is_time_layer(name: str) -> bool:
    """Whether a layer computes with the timestep alone, by its name."""
    return bool(_TIME.search(name))
