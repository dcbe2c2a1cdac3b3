"""ComfyUI's native video families at a tiny size with random weights: one row each.

The classes are ComfyUI's own, so what a row proves holds for a checkpoint of the family: which wrappers its denoiser
calls, how it lays out its tokens, and what its attention is given.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch

from tests.comfyui.hosts import draw

TEXT = 6  # tokens


@dataclass(frozen=True)
class Family:
    """name: of the class in `comfy.supported_models`; config: of its denoiser; video: of the latents [c, f, h, w];
    text: width of the embeddings; layers: calls of self-attention over the video; exact: tokens next to the video's in
    its sequence; sound: of the audio latents, without batch; conditions: more of each condition; variant: what they
    add; batched: whether both branches come in one batch."""

    name: str
    config: dict[str, Any]
    video: tuple[int, ...]
    text: int
    layers: int
    exact: int = 0
    sound: tuple[int, ...] = ()
    conditions: dict[str, Any] = field(default_factory=dict)
    variant: str = ""
    batched: bool = True

    @property
    def id(self) -> str:
        return f"{self.name} {self.variant}".strip()


_MASK = torch.ones(1, TEXT, dtype=torch.long)
_PADDED = torch.tensor([[1, 1, 1, 1, 0, 0]])
_FRAME = draw((1, 16, 1, 8, 12), seed=9)
_GUIDED = torch.ones(1, 1, 4, 6, 8)  # the last frame is a guide, and its first row is left out
_GUIDED[:, :, 3], _GUIDED[:, :, 3, 0] = 0, -1
_HEADS = {"num_attention_heads": 2, "attention_head_dim": 32}
_WAN = {
    "image_model": "wan2.1", "model_type": "t2v", "dim": 48, "ffn_dim": 64, "num_heads": 2, "num_layers": 2,
    "text_dim": 16, "freq_dim": 32, "text_len": TEXT,
}  # fmt: skip
_HUNYUAN = {
    "image_model": "hunyuan_video", "vec_in_dim": 8, "context_in_dim": 16, "hidden_size": 64, "mlp_ratio": 2.0,
    "num_heads": 2, "depth": 1, "depth_single_blocks": 1, "axes_dim": [8, 12, 12], "theta": 256,
    "patch_size": [1, 2, 2], "qkv_bias": True, "guidance_embed": False, "byt5": False, "meanflow": False,
    "use_cond_type_embedding": False, "vision_in_dim": None, "meanflow_sum": False, "in_channels": 16,
    "out_channels": 16,
}  # fmt: skip
_LTX = {
    "image_model": "ltxv", "cross_attention_dim": 64, "caption_channels": 16, "num_layers": 2, **_HEADS,
}  # fmt: skip
_COSMOS = {
    "max_img_h": 240, "max_img_w": 240, "max_frames": 128, "in_channels": 16, "out_channels": 16, "patch_spatial": 2,
    "patch_temporal": 1, "model_channels": 64, "concat_padding_mask": True, "pos_emb_cls": "rope3d",
    "pos_emb_interpolation": "crop", "use_adaln_lora": True, "adaln_lora_dim": 8, "num_blocks": 2, "num_heads": 2,
    "crossattn_emb_channels": 16,
}  # fmt: skip

FAMILIES = (
    Family("WAN21_T2V", _WAN, (16, 4, 8, 12), 16, layers=2),
    Family("WAN22_T2V", {**_WAN, "in_dim": 48, "out_dim": 48}, (48, 4, 8, 12), 16, layers=2),
    Family(
        "HunyuanVideo", _HUNYUAN, (16, 4, 8, 12), 16, layers=2, exact=TEXT,
        conditions={"pooled_output": torch.ones(1, 8)},
    ),
    Family(
        "HunyuanVideo15",
        {**_HUNYUAN, "vec_in_dim": None, "use_cond_type_embedding": True, "vision_in_dim": 12, "meanflow_sum": True,
         "in_channels": 65, "out_channels": 32},
        (32, 4, 8, 12), 16, layers=2, exact=TEXT, conditions={"pooled_output": torch.ones(1, 8)},
    ),
    Family("LTXV", _LTX, (128, 4, 6, 8), 16, layers=2, conditions={"attention_mask": _MASK}),
    Family(
        "LTXAV",
        {**_LTX, "image_model": "ltxav", "audio_cross_attention_dim": 64, "audio_num_attention_heads": 2,
         "audio_attention_head_dim": 32, "connector_attention_head_dim": 8, "connector_num_attention_heads": 2,
         "connector_num_layers": 1},
        (128, 4, 6, 8), 32, layers=2, sound=(8, 5, 16), conditions={"attention_mask": _MASK},
    ),
    Family(
        "GenmoMochi",
        {"image_model": "mochi_preview", "depth": 2, "patch_size": 2, "num_heads": 2, "hidden_size_x": 64,
         "hidden_size_y": 32, "mlp_ratio_x": 192.0, "mlp_ratio_y": 2.0, "learn_sigma": False, "in_channels": 12,
         "qk_norm": True, "qkv_bias": False, "out_bias": True, "attn_drop": 0.0, "posenc_preserve_area": True,
         "timestep_scale": 1000.0, "use_t5": True, "t5_feat_dim": 16, "t5_token_length": TEXT},
        (12, 4, 8, 12), 16, layers=2, exact=TEXT, conditions={"attention_mask": _MASK},
    ),
    Family(
        "CosmosT2V",
        {**_COSMOS, "image_model": "cosmos", "block_config": "FA-CA-MLP", "pos_emb_learnable": False,
         "block_x_format": "THWBD", "affline_emb_norm": True, "extra_per_block_abs_pos_emb": True,
         "extra_per_block_abs_pos_emb_type": "learnable"},
        (16, 4, 8, 12), 16, layers=2,
    ),
    Family(
        "CosmosT2IPredict2",
        {**_COSMOS, "image_model": "cosmos_predict2", "pos_emb_learnable": True, "min_fps": 1, "max_fps": 30,
         "extra_per_block_abs_pos_emb": False},
        (16, 4, 8, 12), 16, layers=2,
    ),
    Family(
        "CogVideoX_T2V",
        {"image_model": "cogvideox", "time_embed_dim": 32, "num_layers": 2, "text_embed_dim": 16, "patch_size": 2,
         "use_rotary_positional_embeddings": True, **_HEADS},
        (16, 4, 8, 12), 16, layers=2, exact=TEXT,
    ),
    Family(
        "Kandinsky5",
        {"image_model": "kandinsky5", "in_text_dim": 16, "in_text_dim2": 8, "time_dim": 32, "model_dim": 64,
         "ff_dim": 64, "visual_embed_dim": 132, "num_text_blocks": 1, "num_visual_blocks": 2, "axes_dims": (8, 12, 12)},
        (16, 4, 8, 12), 16, layers=2, conditions={"pooled_output": torch.ones(1, 8)},
    ),
    Family(
        "MiniMaxH3",
        {"image_model": "minimax_h3", "hidden_size": 64, "num_layers": 2, "token_refiner_num_layers": 1,
         "ffn_hidden_size": 64, "text_dim": 16, "timestep_input_dim": 16, "time_embed_hidden_size": 32,
         "time_embed_dim": 32, "rope_inv_freq_len": 4, **_HEADS},
        (24, 4, 8, 12), 16, layers=2, exact=TEXT + 2 * 5, sound=(32, 2, 5),
    ),
)  # fmt: skip
#: with tokens of references and guides
VARIANTS = (
    Family(
        "WAN21_T2V", {**_WAN, "in_dim_ref_conv": 16}, (16, 4, 8, 12), 16, layers=2, exact=24 + 24,
        conditions={"reference_latents": [_FRAME], "context_latents": [_FRAME]}, variant="with references",
    ),
    Family(
        "HunyuanVideo", _HUNYUAN, (16, 4, 8, 12), 16, layers=2, exact=TEXT + 24,
        conditions={"pooled_output": torch.ones(1, 8), "ref_latent": _FRAME, "attention_mask": _PADDED},
        variant="with a reference and padded text", batched=False,  # ComfyUI's own code fails on a batch of these
    ),
    Family(
        "LTXV", _LTX, (128, 4, 6, 8), 16, layers=2, exact=48 - 8,
        conditions={"attention_mask": _MASK, "keyframe_idxs": torch.zeros(1, 3, 48, 2), "concat_mask": _GUIDED},
        variant="with a guide frame",
    ),
)  # fmt: skip


def build(family: Family) -> Any:
    """A MODEL with random weights."""
    import comfy.model_patcher
    import comfy.supported_models

    made = getattr(comfy.supported_models, family.name)(dict(family.config))
    made.set_inference_dtype(torch.float32, None)
    model = made.get_model({}, "")
    generator = torch.Generator().manual_seed(0)
    for name, weight in [*model.diffusion_model.named_parameters(), *_unset_buffers(model.diffusion_model)]:
        if weight.ndim > 1:
            weight.data.normal_(0, weight[0].numel() ** -0.5, generator=generator)
        else:
            weight.data.fill_(1.0 if name.endswith("weight") or name.endswith("inv_freq") else 0.1)
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model, cpu, cpu)


def _unset_buffers(denoiser: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    """Buffers that a checkpoint fills."""
    return [(name, value) for name, value in denoiser.named_buffers() if name.endswith("rope.inv_freq")]


def noise(family: Family) -> Any:
    """Noise of the latents; of both modalities where there is sound."""
    video = draw((1, *family.video))
    if not family.sound:
        return video
    from comfy.nested_tensor import NestedTensor

    return NestedTensor((video, draw((1, *family.sound), seed=2)))


def sample(family: Family, model: Any, steps: int = 3) -> list[torch.Tensor]:
    """Latents of one run with Euler's method, per modality."""
    import comfy.samplers
    from comfy.model_patcher import ModelPatcher

    guider = comfy.samplers.CFGGuider(model)
    conditions = [[[draw((1, TEXT, family.text), seed=seed), dict(family.conditions)]] for seed in (3, 4)]
    guider.set_conds(*conditions)
    guider.set_cfg(3.0)
    drawn = noise(family)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", steps)
    euler = comfy.samplers.sampler_object("euler")
    with nullcontext() if family.batched else patch.object(ModelPatcher, "get_free_memory", lambda *_: 0):
        found = guider.sample(drawn, drawn * 0, euler, sigmas, disable_pbar=True, seed=1)
    return list(found.unbind()) if found.is_nested else [found]
