"""Published models as configurations: the shapes that a plan is compared on, without a file of weights.

The values are those of the checkpoints' config.json. Written as a folder in diffusers' layout, a shape is planned as
any model whose weights are not there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

Component = tuple[str, str, Mapping[str, Any]]
_UMT5 = ("transformers", "UMT5EncoderModel", dict(
    vocab_size=256384, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu",
))  # fmt: skip
_T5 = ("transformers", "T5EncoderModel", dict(
    vocab_size=32128, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu",
))  # fmt: skip
_LLAMA = ("transformers", "LlamaModel", dict(
    vocab_size=128320, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
    num_key_value_heads=8,
))  # fmt: skip
_CLIP = ("transformers", "CLIPTextModel", dict(
    vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
    max_position_embeddings=77,
))  # fmt: skip
_FLOW = ("diffusers", "FlowMatchEulerDiscreteScheduler", {"shift": 5.0})


def _wan(heads: int, layers: int, feed_forward: int) -> dict[str, Component]:
    denoiser = dict(
        patch_size=(1, 2, 2), num_attention_heads=heads, attention_head_dim=128, in_channels=16, out_channels=16,
        text_dim=4096, freq_dim=256, ffn_dim=feed_forward, num_layers=layers, cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
    )  # fmt: skip
    return {
        "transformer": ("diffusers", "WanTransformer3DModel", denoiser),
        "vae": ("diffusers", "AutoencoderKLWan", {}), "text_encoder": _UMT5, "scheduler": _FLOW,
    }  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """A published clip. gib: (denoise activations, decode activations) in GiB as they were counted before, by another
    program; None where they were not."""

    frames: int
    width: int
    height: int
    gib: tuple[float | None, float | None]


@dataclass(frozen=True)
class Shape:
    """pipeline: its class; weights_gib: of the denoiser and of the first text encoder in bf16, as published figures
    have them; absent: components that are left out."""

    pipeline: str
    components: Mapping[str, Component]
    clips: tuple[Reference, ...]
    weights_gib: tuple[float, float | None]
    absent: tuple[str, ...] = ()


SHAPES: dict[str, Shape] = {
    "Wan 2.1 1.3B": Shape(
        "WanPipeline", _wan(12, 30, 8960),
        (Reference(81, 832, 480, (1.7, 4.0)), Reference(81, 1280, 720, (3.7, 9.1))), (2.6, 12.5),
    ),
    "Wan 2.1 14B": Shape(
        "WanPipeline", _wan(40, 40, 13824),
        (Reference(81, 832, 480, (5.2, 4.0)), Reference(81, 1280, 720, (9.8, 9.1))), (26.6, 12.5),
    ),
    "HunyuanVideo": Shape(
        "HunyuanVideoPipeline",
        {
            "transformer": ("diffusers", "HunyuanVideoTransformer3DModel", {}),
            "vae": ("diffusers", "AutoencoderKLHunyuanVideo", {}), "text_encoder": _LLAMA, "text_encoder_2": _CLIP,
            "scheduler": _FLOW,
        },
        (Reference(61, 832, 480, (5.0, 14.8)), Reference(129, 960, 544, (9.4, None))), (23.9, 14.0),
        absent=("tokenizer_2",),
    ),
    "CogVideoX-5B": Shape(
        "CogVideoXPipeline",
        {
            "transformer": ("diffusers", "CogVideoXTransformer3DModel", dict(
                num_attention_heads=48, num_layers=42, use_rotary_positional_embeddings=True,
            )),
            "vae": ("diffusers", "AutoencoderKLCogVideoX", {}), "text_encoder": _T5,
            "scheduler": ("diffusers", "CogVideoXDDIMScheduler", {}),
        },
        (Reference(49, 720, 480, (3.0, 14.7)),), (10.4, 9.1),
    ),
    "LTX-2 19B": Shape(
        "LTX2Pipeline",
        {
            "transformer": ("diffusers", "LTX2VideoTransformer3DModel", {}),
            "vae": ("diffusers", "AutoencoderKLLTX2Video", dict(
                spatial_compression_ratio=32, temporal_compression_ratio=8,  # the class assumes 64 and 16
            )),
            "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler", {}),
        },
        (Reference(121, 768, 512, (None, None)),), (35.2, None),
        absent=("audio_vae", "connectors", "text_encoder", "vocoder"),
    ),
}  # fmt: skip


def write_folder(shape: Shape, folder: Path) -> None:
    """A checkpoint's folder without weights."""
    components = shape.components.items()
    index: dict[str, Any] = {name: [None, None] for name in ("tokenizer", *shape.absent)}
    index["_class_name"] = shape.pipeline
    index |= {name: [library, kind] for name, (library, kind, _) in components}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    for name, (library, kind, config) in components:
        (folder / name).mkdir(exist_ok=True)
        if library == "transformers":
            getattr(import_module(library), kind).config_class(**config).save_pretrained(folder / name)
            continue
        file = "scheduler_config.json" if name == "scheduler" else "config.json"
        (folder / name / file).write_text(json.dumps({"_class_name": kind, **config}), encoding="utf-8")
