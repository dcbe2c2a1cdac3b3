"""Keys of LoRA files: which component, layer and matrix a tensor is, in the layouts of diffusers, kohya and ComfyUI.

    transformer.blocks.0.attn1.to_q.lora_A.weight                 diffusers (peft); older: `lora.down`, `to_q_lora.down`
    lora_unet_blocks_0_self_attn_q.lora_down.weight               kohya: the layer's name with underscores, `alpha`
    diffusion_model.blocks.0.self_attn.q.lora_down.weight         ComfyUI: the names of the model's own repository

No torch here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DIFFUSERS, KOHYA, COMFYUI = "diffusers", "kohya", "ComfyUI"
#: what `LoraKey.component` is for the denoiser, the second denoiser, and text encoders
DENOISER, SECOND_DENOISER = "denoiser", "second denoiser"
DOWN, UP, ALPHA, BIAS = "down", "up", "alpha", "bias"

#: start of a key -> (layout, component, whether the layer's name has underscores for dots); the first that fits
_STARTS = (
    ("lora_unet_", KOHYA, DENOISER, True),
    ("lora_transformer_", KOHYA, DENOISER, True),
    ("lora_te1_", KOHYA, "text_encoder", True),
    ("lora_te2_", KOHYA, "text_encoder_2", True),
    ("lora_te_", KOHYA, "text_encoder", True),
    ("diffusion_model.", COMFYUI, DENOISER, False),
    ("model.diffusion_model.", COMFYUI, DENOISER, False),
    ("base_model.model.", DIFFUSERS, DENOISER, False),
    ("transformer_2.", DIFFUSERS, SECOND_DENOISER, False),
    ("transformer.", DIFFUSERS, DENOISER, False),
    ("unet.", DIFFUSERS, DENOISER, False),
    ("text_encoder_2.", DIFFUSERS, "text_encoder_2", False),
    ("text_encoder.", DIFFUSERS, "text_encoder", False),
    ("connectors.", DIFFUSERS, "connectors", False),
)
#: end of a key -> which matrix it is
_ENDS = (
    (re.compile(r"\.lora_A(?:\.default)?\.weight"), DOWN),
    (re.compile(r"\.lora_B(?:\.default)?\.weight"), UP),
    (re.compile(r"\.lora_B(?:\.default)?\.bias"), BIAS),
    (re.compile(r"\.lora_down\.weight"), DOWN),
    (re.compile(r"\.lora_up\.weight"), UP),
    (re.compile(r"\.lora(?:_linear_layer)?\.down\.weight"), DOWN),
    (re.compile(r"\.lora(?:_linear_layer)?\.up\.weight"), UP),
    (re.compile(r"_lora\.down\.weight"), DOWN),
    (re.compile(r"_lora\.up\.weight"), UP),
    (re.compile(r"\.diff_b"), BIAS),
    (re.compile(r"\.alpha"), ALPHA),
)
#: parts of other kinds of adapters -> their name: what they compute is not a LoRA's product
OTHER_KINDS = {
    ".dora_scale": "DoRA", ".lora_magnitude_vector": "DoRA", ".lokr_": "LoKr", ".hada_": "LoHa", ".oft_": "OFT",
    ".lora_mid.": "LoCon with a third (Tucker) matrix", ".lora_embedding_": "LoRA of token embeddings",
}  # fmt: skip


@dataclass(frozen=True)
class LoraKey:
    """One tensor of a file: `part` of the `layer` in a `component`; flat: whether the layer's name has underscores
    where the model's has dots."""

    layout: str
    component: str
    layer: str
    part: str
    flat: bool = False


def read_key(key: str) -> LoraKey | None:
    """A key's parts; None for one of no known layout."""
    layout, component, flat, rest = DIFFUSERS, DENOISER, False, key
    for start, its_layout, its_component, its_flat in _STARTS:
        if key.startswith(start):
            layout, component, flat, rest = its_layout, its_component, its_flat, key[len(start) :]
            break
    for end, part in _ENDS:
        found = end.search(rest)
        if found is not None and found.end() == len(rest) and found.start() > 0:
            return LoraKey(layout, component, _layer(rest[: found.start()]), part, flat)
    return None


def other_kind(key: str) -> str | None:
    """The kind of adapter that a key belongs to, where that is not a plain LoRA."""
    return next((kind for part, kind in OTHER_KINDS.items() if part in key), None)


def _layer(name: str) -> str:
    """The layer without the wrappers of diffusers' earlier attention processors."""
    name = name.replace(".processor.", ".")
    return f"{name}.0" if name.endswith(".to_out") else name
