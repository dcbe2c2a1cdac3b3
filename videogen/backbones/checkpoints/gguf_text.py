"""Text encoders from GGUF: T5 and UMT5, under llama.cpp's names for the tensors of an encoder. No torch here.

The tensors are those of transformers, renamed (llama.cpp, `convert_hf_to_gguf.py`, `T5EncoderModel`). They are decoded
when they are read: transformers' T5 casts its activations to the dtype of the weights, so that packed ones cannot stay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from videogen.core.errors import UnsupportedError

from .parts import Part

_CLASSES = ("T5EncoderModel", "UMT5EncoderModel")
_Tensor = TypeVar("_Tensor")
_BLOCK = re.compile(r"enc\.blk\.(\d+)\.(\w+)\.weight")
#: in a block: llama.cpp's name -> that of transformers
_LAYERS = {
    "attn_norm": "layer.0.layer_norm", "attn_q": "layer.0.SelfAttention.q", "attn_k": "layer.0.SelfAttention.k",
    "attn_v": "layer.0.SelfAttention.v", "attn_o": "layer.0.SelfAttention.o",
    "attn_rel_b": "layer.0.SelfAttention.relative_attention_bias", "ffn_norm": "layer.1.layer_norm",
    "ffn_gate": "layer.1.DenseReluDense.wi_0", "ffn_up": "layer.1.DenseReluDense.wi_1",
    "ffn_down": "layer.1.DenseReluDense.wo",
}  # fmt: skip
_OTHERS = {"token_embd.weight": "shared.weight", "enc.output_norm.weight": "encoder.final_layer_norm.weight"}
_UNGATED = "layer.1.DenseReluDense.wi"


def check_text_class(part: Part, class_name: str) -> None:
    """UnsupportedError for a text encoder of another kind."""
    if class_name not in _CLASSES:
        raise UnsupportedError(
            f"{part.given} is a GGUF, and this model's {part.name} is a {class_name}; text encoders are read from GGUF "
            "for T5 and UMT5 alone: give its safetensors"
        )


def rename_text_tensors(checkpoint: Mapping[str, _Tensor], config: Any = None) -> dict[str, _Tensor]:
    """Tensors under the names of transformers; those that are not of an encoder under their own."""
    is_gated = any(".ffn_gate." in name for name in checkpoint)
    found = {}
    for name, tensor in checkpoint.items():
        block = _BLOCK.fullmatch(name)
        layer = _LAYERS.get(block[2]) if block else None
        if block and layer:
            layer = layer if is_gated or block[2] != "ffn_up" else _UNGATED
            name = f"encoder.block.{block[1]}.{layer}.weight"
        found[_OTHERS.get(name, name)] = tensor
    return found
