"""Tiny random models of the real classes, saved as real checkpoints: one row per variant of a family.

A new family is covered by the contract tests by adding its row here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

WORDS = ["a", "red", "blue", "ball", "square", "moves", "right", "left", "on", "black", "background", "blurry"]


@dataclass(frozen=True)
class Variant:
    """A checkpoint to build, clips that fit it, and further arguments of its own pipeline's call."""

    name: str
    build: Callable[[Path], None]
    pipeline: str
    clips: tuple[tuple[int, int, int], ...]  # (frames, width, height)
    solvers: tuple[str | None, ...]
    call: dict[str, Any] = field(default_factory=dict)


def tokenizer(length: int = 16) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=length
    )


def wan(folder: Path, *, experts: int = 1, expand_timesteps: bool = False) -> None:
    """Wan 2.1; with two experts or `expand_timesteps`, Wan 2.2."""
    from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(0)
    word_tokenizer = tokenizer()
    config = UMT5Config(vocab_size=len(word_tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    vae = AutoencoderKLWan(
        base_dim=4, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True],
        latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.1, 0.9, 1.2, 1.0],
    )  # fmt: skip
    transformers = [
        WanTransformer3DModel(
            patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4,
            text_dim=16, freq_dim=16, ffn_dim=16, num_layers=2, rope_max_seq_len=64,
        )
        for _ in range(experts)
    ]  # fmt: skip
    WanPipeline(
        tokenizer=word_tokenizer,
        text_encoder=UMT5EncoderModel(config),
        vae=vae,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        transformer=transformers[0],
        transformer_2=transformers[1] if experts > 1 else None,
        boundary_ratio=0.7 if experts > 1 else None,
        expand_timesteps=expand_timesteps,
    ).save_pretrained(folder)


def animatediff(folder: Path) -> None:
    from diffusers import AnimateDiffPipeline, AutoencoderKL, DDIMScheduler, UNetMotionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    word_tokenizer = tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(word_tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16, pad_token_id=0, eos_token_id=1, bos_token_id=1,
    )  # fmt: skip
    unet = UNetMotionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(8, 16), layers_per_block=1,
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion"),
        norm_num_groups=4, cross_attention_dim=16, num_attention_heads=2, motion_num_attention_heads=2,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1, latent_channels=4, norm_num_groups=4,
        sample_size=16,
    )  # fmt: skip
    scheduler = DDIMScheduler(beta_schedule="linear", clip_sample=False, steps_offset=1)
    AnimateDiffPipeline(
        vae=vae, text_encoder=CLIPTextModel(config), tokenizer=word_tokenizer, unet=unet, motion_adapter=None,
        scheduler=scheduler,
    ).save_pretrained(folder)  # fmt: skip


# Wan's own pipeline hands its solver no generator, so that its stochastic solvers are not reproducible: left out here.
_WAN_CLIPS = ((5, 32, 32), (9, 48, 32), (1, 32, 16))
_WAN_CALL = {"max_sequence_length": 16}

VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant(
            "wan-2.1", wan, "WanPipeline", _WAN_CLIPS,
            (None, "euler", "unipc", "dpm++2m", "heun", "deis"), _WAN_CALL,
        ),
        Variant(
            "wan-2.2-experts", lambda folder: wan(folder, experts=2), "WanPipeline", _WAN_CLIPS[:2],
            (None, "unipc"), _WAN_CALL,
        ),
        Variant(
            "wan-2.2-expand", lambda folder: wan(folder, expand_timesteps=True), "WanPipeline", _WAN_CLIPS[:2],
            (None, "unipc"), _WAN_CALL,
        ),
        Variant(
            "animatediff", animatediff, "AnimateDiffPipeline", ((4, 16, 16), (6, 24, 16), (1, 16, 16)),
            (None, "ddim", "euler", "euler-a", "dpm++2m", "dpm++2m-sde", "unipc", "deis", "lcm", "pndm", "ddpm"),
        ),
    )
}  # fmt: skip
