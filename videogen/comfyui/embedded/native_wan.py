"""Wan checkpoints for ComfyUI: a diffusers `WanTransformer3DModel` as the file that Load Diffusion Model takes.

ComfyUI keeps the names of Wan's original repository. It reads a model's size from the tensors' shapes, and takes what
they do not show from the file's metadata: without them the number of heads is width / 128.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videogen.core.errors import CheckpointError, InputError, UnsupportedError
from videogen.core.files import atomic_path

if TYPE_CHECKING:
    import torch

    from videogen.backbones.base import Backbone

MODEL_CLASS = "WanTransformer3DModel"
EMBEDDED_MODEL = "embedded"
#: of the embedded DiT on ComfyUI's samplers, which differ from the engine's and cannot go back a step
CALIBRATED_NAME = "embedded@comfyui"
_WEIGHTS = "diffusion_pytorch_model.safetensors"
#: name in diffusers -> name in ComfyUI, as regular expressions; the first that matches
_RENAMES = (
    (r"^condition_embedder\.text_embedder\.linear_1\.", "text_embedding.0."),
    (r"^condition_embedder\.text_embedder\.linear_2\.", "text_embedding.2."),
    (r"^condition_embedder\.time_embedder\.linear_1\.", "time_embedding.0."),
    (r"^condition_embedder\.time_embedder\.linear_2\.", "time_embedding.2."),
    (r"^condition_embedder\.time_proj\.", "time_projection.1."),
    (r"^patch_embedding\.", "patch_embedding."),
    (r"^scale_shift_table$", "head.modulation"),
    (r"^proj_out\.", "head.head."),
    (r"^(blocks\.\d+)\.scale_shift_table$", r"\1.modulation"),
    (r"^(blocks\.\d+)\.norm2\.", r"\1.norm3."),
    (r"^(blocks\.\d+)\.ffn\.net\.0\.proj\.", r"\1.ffn.0."),
    (r"^(blocks\.\d+)\.ffn\.net\.2\.", r"\1.ffn.2."),
    (r"^(blocks\.\d+)\.attn1\.to_out\.0\.", r"\1.self_attn.o."),
    (r"^(blocks\.\d+)\.attn2\.to_out\.0\.", r"\1.cross_attn.o."),
    (r"^(blocks\.\d+)\.attn1\.to_([qkv])\.", r"\1.self_attn.\2."),
    (r"^(blocks\.\d+)\.attn2\.to_([qkv])\.", r"\1.cross_attn.\2."),
    (r"^(blocks\.\d+)\.attn1\.norm_([qk])\.", r"\1.self_attn.norm_\2."),
    (r"^(blocks\.\d+)\.attn2\.norm_([qk])\.", r"\1.cross_attn.norm_\2."),
)


def convert_weights(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A text-to-video model's weights by ComfyUI's names. UnsupportedError for a weight that has none, such as those of
    image conditions."""
    return {_native_name(name): value for name, value in weights.items()}


def native_metadata(config: Mapping[str, Any]) -> dict[str, str]:
    """The metadata of a file for ComfyUI: what it cannot read from the shapes, of a diffusers configuration."""
    stated = {
        "num_heads": config["num_attention_heads"],
        "freq_dim": config["freq_dim"],
        "text_dim": config["text_dim"],
        "eps": config["eps"],
    }
    return {"config": json.dumps({"transformer": stated}), "format": "pt"}


def export_transformer(folder: Path, target: Path, *, overwrite: bool = False) -> Path:
    """Write the denoiser of a diffusers folder as one file for ComfyUI; returns its path.

    folder: of the pipeline; target: a `.safetensors` file. CheckpointError where the folder has no denoiser in one
    file; InputError for another kind of target; UnsupportedError for another class than Wan's for text to video.
    """
    from safetensors.torch import load_file, save_file

    if target.suffix != ".safetensors":
        raise InputError(f"output={str(target)!r} must end in .safetensors")
    part = folder / "transformer"
    config = _read_config(part)
    if config.get("_class_name") != MODEL_CLASS or config.get("image_dim") is not None:
        raise UnsupportedError(
            f"{part}: {config.get('_class_name')!r} cannot be exported for ComfyUI; only {MODEL_CLASS} for text to "
            "video can, other models are loaded there from their original files"
        )
    weights = part / _WEIGHTS
    if not weights.is_file():
        raise CheckpointError(f"{weights} is missing; a model in several files cannot be exported")
    with atomic_path(target, overwrite=overwrite) as partial:
        save_file(convert_weights(load_file(weights)), partial, metadata=native_metadata(config))
    return target


def load_embedded_weights() -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The embedded DiT's weights in fp32 by ComfyUI's names, and the metadata that its loader reads."""
    from safetensors.torch import load_file

    part = find_folder(EMBEDDED_MODEL) / "transformer"
    weights = convert_weights(load_file(part / _WEIGHTS))
    return {name: value.float() for name, value in weights.items()}, native_metadata(_read_config(part))


def find_folder(name_or_path: str) -> Path:
    """The folder of an embedded model, or a folder in diffusers' layout. InputError for anything else."""
    from videogen.backbones.registry import locate

    found = locate(name_or_path)
    if not isinstance(found, Path) or not found.is_dir():
        raise InputError(f"model={name_or_path!r} is not a folder in diffusers' layout; give one, or 'embedded'")
    return found


@cache
def load_embedded_backbone() -> Backbone:
    """The embedded DiT, of which ComfyUI's nodes take the text encoder and the VAE."""
    from videogen.backbones.load_options import LoadOptions
    from videogen.backbones.registry import load

    return load(EMBEDDED_MODEL, LoadOptions(device="cpu"))


def _native_name(name: str) -> str:
    for pattern, replacement in _RENAMES:
        renamed, count = re.subn(pattern, replacement, name)
        if count:
            return renamed
    raise UnsupportedError(f"the weight {name!r} has no name in ComfyUI's Wan for text to video")


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; give a folder in diffusers' layout") from error
    return found
