"""Reading of a LoRA's weights for a model: by the names of its layers, or else through diffusers' converter.

The converter of the pipeline's class knows layouts in which layers are fused or renamed beyond a rule, such as those of
HunyuanVideo's own repository.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

import torch

from videogen.core.errors import CheckpointError

from .cache import LayerWeights, Weights
from .keys import ALPHA, BIAS, DOWN, UP, read_key
from .lora_file import TensorFile, check_floating, read_tensor_file
from .matching import LayerMatch, Match, Target, assign, check_fits, check_kind
from .spec import Lora

_HUNYUAN_BLOCK = re.compile(r"lora_unet_(double_blocks|single_blocks)_(\d+)_(\w+)")
_log = logging.getLogger("videogen")


def read_lora_file(lora: Lora) -> TensorFile:
    """A LoRA's file, from its header. Errors as `read_tensor_file`; CheckpointError for matrices of integers."""
    file = read_tensor_file(lora.file, "LoRA", lora.sha256)
    check_floating(file, (name for name in file.shapes if (key := read_key(name)) and key.part != ALPHA), "LoRA")
    return file


def read_weights(lora: Lora, file: TensorFile, target: Target, pipeline: Any) -> tuple[Match, Weights]:
    """Which layers a file changes, and their matrices. CheckpointError for a file that cannot be read or does not fit,
    see `matching.match`."""
    check_kind(lora, file.path, file.shapes, target)
    found = assign(lora, file.shapes, target)
    converted = _convert(lora, file, target, pipeline, found) if found.unknown else None
    if converted is None:
        check_fits(found, file.path, file.shapes, target)
        return found, build_weights(found, read_tensors(file))
    found, tensors = converted
    return found, build_weights(found, tensors)


def read_tensors(file: TensorFile) -> dict[str, torch.Tensor]:
    """All tensors of a file, on the CPU."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(file.path))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file.path} cannot be read: {error}; copy it again") from error


def _convert(
    lora: Lora, file: TensorFile, target: Target, pipeline: Any, by_name: Match
) -> tuple[Match, dict[str, torch.Tensor]] | None:
    """The match and tensors in diffusers' layout, where its converter finds layers that names alone do not."""
    convert = getattr(type(pipeline), "lora_state_dict", None)
    if convert is None:
        return None
    try:
        unet = getattr(pipeline, "unet", None)
        options = {} if unet is None else {"unet_config": unet.config}  # to rename blocks that are counted otherwise
        found = convert(in_repository_names(read_tensors(file)), **options)
    except Exception as error:  # of a key that it does not know: of any type
        _log.debug("%s: diffusers' converter: %s", file.path, error)
        return None
    state, alphas = found[:2] if isinstance(found, tuple) else (found, None)
    scales = {_alpha_key(key): torch.tensor(float(value)) for key, value in (alphas or {}).items()}
    tensors = {**state, **scales}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    converted = assign(lora, shapes, target)
    if converted.count <= by_name.count:
        return None
    check_fits(converted, file.path, shapes, target)
    converted.layout = by_name.layout or converted.layout
    return converted, tensors


def in_repository_names(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors as the converters of transformers know them: `lora_A` and `lora_B` with alpha multiplied in, and kohya's
    names of HunyuanVideo's layers with dots."""
    found = dict(tensors)
    for key in [key for key in found if key.endswith(".lora_down.weight")]:
        layer = key.removesuffix(".lora_down.weight")
        name = _with_dots(layer)
        if name.startswith("lora_"):  # of other models: the converter knows kohya's names
            continue
        down, alpha = found.pop(key), found.pop(f"{layer}.alpha", None)
        found[f"{name}.lora_A.weight"] = down if alpha is None else down * (float(alpha) / len(down))
        if f"{layer}.lora_up.weight" in found:
            found[f"{name}.lora_B.weight"] = found.pop(f"{layer}.lora_up.weight")
    return found


def _alpha_key(key: str) -> str:
    """The library's name of an alpha as the layer's: it has the down matrix' for earlier attention processors."""
    return key.replace("_lora.down.weight.alpha", ".alpha")


def _with_dots(layer: str) -> str:
    """`lora_unet_double_blocks_0_img_attn_qkv` as `diffusion_model.double_blocks.0.img_attn_qkv`."""
    block = _HUNYUAN_BLOCK.fullmatch(layer)
    if block is None:
        return layer
    inner = re.sub(r"(mlp|mod|modulation)_(fc[12]|linear)$", r"\1.\2", block[3])
    return f"diffusion_model.{block[1]}.{block[2]}.{inner}"


def build_weights(found: Match, tensors: Mapping[str, torch.Tensor]) -> Weights:
    """Each layer's matrices; components that share a layer's tensors share them in memory."""
    return {
        component: {name: _layer_weights(layer, tensors) for name, layer in layers.items()}
        for component, layers in found.layers.items()
    }


def _layer_weights(layer: LayerMatch, tensors: Mapping[str, torch.Tensor]) -> LayerWeights:
    keys = layer.keys
    alpha = float(tensors[keys[ALPHA]]) if ALPHA in keys else float(layer.rank)
    bias = tensors[keys[BIAS]] if BIAS in keys else None
    return LayerWeights(tensors[keys[DOWN]], tensors[keys[UP]], alpha, bias)
