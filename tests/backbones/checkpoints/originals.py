"""Files under the names that original checkpoints and ComfyUI have, made by inverting the library's own conversions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import torch
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

Tensors: TypeAlias = Mapping[str, torch.Tensor]
#: (in the original's names, in the library's); `^` is the beginning of a name
Pairs: TypeAlias = Iterable[tuple[str, str]]

WAN: Pairs = (
    ("time_embedding.0", "condition_embedder.time_embedder.linear_1"),
    ("time_embedding.2", "condition_embedder.time_embedder.linear_2"),
    ("text_embedding.0", "condition_embedder.text_embedder.linear_1"),
    ("text_embedding.2", "condition_embedder.text_embedder.linear_2"),
    ("time_projection.1", "condition_embedder.time_proj"), ("cross_attn", "attn2"), ("self_attn", "attn1"),
    (".o.", ".to_out.0."), (".q.", ".to_q."), (".k.", ".to_k."), (".v.", ".to_v."),
    ("^head.modulation", "^scale_shift_table"), (".modulation", ".scale_shift_table"), ("^head.head", "^proj_out"),
    ("ffn.0", "ffn.net.0.proj"), ("ffn.2", "ffn.net.2"), ("norm3", "norm2"),
)  # fmt: skip
LTX: Pairs = (
    ("patchify_proj", "proj_in"), ("adaln_single", "time_embed"), ("q_norm", "norm_q"), ("k_norm", "norm_k"),
)  # fmt: skip
LTX_VAE: Pairs = (
    *((f"up_blocks.{old}", new) for old, new in (
        (1, "up_blocks.0"), (2, "up_blocks.1.upsamplers.0"), (3, "up_blocks.1"),
        (4, "up_blocks.2.conv_in"), (5, "up_blocks.2.upsamplers.0"), (6, "up_blocks.2"), (7, "up_blocks.3.conv_in"),
        (8, "up_blocks.3.upsamplers.0"), (9, "up_blocks.3"),
    )),
    *((f"down_blocks.{old}", new) for old, new in (
        (1, "down_blocks.0.downsamplers.0"), (2, "down_blocks.0.conv_out"), (3, "down_blocks.1"),
        (4, "down_blocks.1.downsamplers.0"), (5, "down_blocks.1.conv_out"), (6, "down_blocks.2"),
        (7, "down_blocks.2.downsamplers.0"), (8, "down_blocks.3"),
    )),
    ("^decoder.up_blocks.0", "^decoder.mid_block"), ("^encoder.down_blocks.9", "^encoder.mid_block"),
    ("conv_shortcut", "conv_shortcut.conv"), ("res_blocks", "resnets"), ("norm3.norm", "norm3"),
    ("per_channel_statistics.mean-of-means", "latents_mean"), ("per_channel_statistics.std-of-means", "latents_std"),
)  # fmt: skip


def to_original(class_name: str, tensors: Tensors, pairs: Pairs, prefix: str = "") -> dict[str, torch.Tensor]:
    """The tensors under names from which the library's conversion gives theirs. prefix: of all names in the file."""
    convert = SINGLE_FILE_LOADABLE_CLASSES[class_name]["checkpoint_mapping_fn"]
    shape = {"vae.encoder.conv_out.conv.weight": torch.empty(1, 1)}  # by which the library knows a version

    def converted(name: str) -> str | None:
        found = convert(checkpoint={**shape, f"{prefix}{name}": torch.empty(0, 1)}, config={})
        return next((key for key, tensor in found.items() if not tensor.numel()), None)

    found = {f"{prefix}{_invert(name, converted, tuple(pairs))}": tensor for name, tensor in tensors.items()}
    assert len(found) == len(tensors)
    return found


def _invert(name: str, converted: Callable[[str], str | None], pairs: tuple[tuple[str, str], ...]) -> str:
    """The name that is converted to this one by the most replacements."""
    waiting, tried, found = deque([f"^{name}"]), {f"^{name}"}, None
    while waiting:
        candidate = waiting.popleft()
        if converted(candidate[1:]) == name:
            found = candidate[1:]
        for further in (candidate.replace(new, old) for old, new in pairs if new in candidate):
            if further not in tried:
                tried.add(further)
                waiting.append(further)
    assert found is not None, f"{name} has no original name"
    return found


def wan_vae_to_original(tensors: Tensors) -> dict[str, torch.Tensor]:
    """The names of Wan's VAE of 2.1, which has three residual blocks at each of four levels of the decoder."""
    return {_original_of_wan_vae(name): tensor for name, tensor in tensors.items()}


_RESIDUAL = {
    "norm1.gamma": "residual.0.gamma", "conv1.weight": "residual.2.weight", "conv1.bias": "residual.2.bias",
    "norm2.gamma": "residual.3.gamma", "conv2.weight": "residual.6.weight", "conv2.bias": "residual.6.bias",
    "conv_shortcut.weight": "shortcut.weight", "conv_shortcut.bias": "shortcut.bias",
}  # fmt: skip


def _original_of_wan_vae(name: str) -> str:
    side, _, rest = name.partition(".")
    for new, old in (("quant_conv.", "conv1."), ("post_quant_conv.", "conv2.")):
        if name.startswith(new):
            return f"{old}{name.removeprefix(new)}"
    for new, old in (("conv_in.", "conv1."), ("norm_out.", "head.0."), ("conv_out.", "head.2.")):
        if rest.startswith(new):
            return f"{side}.{old}{rest.removeprefix(new)}"
    parts = rest.split(".")
    if parts[0] == "mid_block":
        index = {"resnets": 2 * int(parts[2]), "attentions": 1}[parts[1]]
        tail = ".".join(parts[3:])
        return f"{side}.middle.{index}.{_RESIDUAL.get(tail, tail)}"
    if parts[0] == "down_blocks":
        tail = ".".join(parts[2:])
        return f"{side}.downsamples.{parts[1]}.{_RESIDUAL.get(tail, tail)}"
    assert parts[0] == "up_blocks"
    tail, level = ".".join(parts[4:]), 4 * int(parts[1])
    index = level + (int(parts[3]) if parts[2] == "resnets" else 3)
    return f"{side}.upsamples.{index}.{_RESIDUAL.get(tail, tail)}"


def add_prefix(tensors: Tensors, prefix: str) -> dict[str, Any]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
