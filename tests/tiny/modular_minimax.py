"""MiniMax-H3 as blocks: video with sound from a text, a first and a last image, or references.

Its clips are of 17 n + 5 frames and last 5 seconds at least. It reads the 50th layer of its language model; the widths
here are a few numbers each.
"""

from __future__ import annotations

from typing import Any

from tests.tiny import parts
from tests.tiny.modular_rows import Words, row
from tests.tiny.table import Tiny, TinyCall

NAME = "MiniMaxH3ModularPipeline"
SIZES = ((124, 32, 32), (141, 64, 32))
CHANNELS, AUDIO_CHANNELS = 4, 4
VISION = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"}


def tokenizer() -> Any:
    return parts.word_tokenizer(64, vision_bos_token="<|vision_start|>", vision_eos_token="<|vision_end|>", **VISION)


def text_encoder(tokens: Any) -> Any:
    """Qwen3-VL with more layers than the one that is read."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    ids = {name: tokens.convert_tokens_to_ids(token) for name, token in VISION.items()}
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": 64, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 51,
            "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 512,
            "pad_token_id": 0,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]},
        },
        vision_config={
            "depth": 1, "hidden_size": 8, "intermediate_size": 8, "num_heads": 1, "patch_size": 8,
            "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": 8, "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
        },
        image_token_id=ids["image_token"], video_token_id=ids["video_token"],
        vision_start_token_id=tokens.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokens.convert_tokens_to_ids("<|vision_end|>"),
    )  # fmt: skip
    return Qwen3VLForConditionalGeneration(config).eval()


def processor(tokens: Any) -> Any:
    """Of images alone: that of videos needs torchvision."""
    from transformers import Qwen2VLImageProcessorPil, Qwen3VLProcessor

    class ImageProcessor(Qwen3VLProcessor):
        @classmethod
        def get_attributes(cls) -> list[str]:
            return ["image_processor", "tokenizer"]

    images = Qwen2VLImageProcessorPil(
        patch_size=8, merge_size=2, temporal_patch_size=2, min_pixels=256, max_pixels=1024
    )
    return ImageProcessor(image_processor=images, tokenizer=tokens)


def vae() -> Any:
    """16 px and 4 frames per latent; clips are encoded 17 frames at a time."""
    from diffusers import AutoencoderKLMiniMaxH3

    return AutoencoderKLMiniMaxH3(
        latent_channels=CHANNELS, block_out_channels=(4, 4, 4, 4, 4, 4), layers_per_block=1, norm_num_groups=2,
        decoder_num_layers=1, decoder_num_attention_heads=1, decoder_attention_head_dim=16,
        decoder_num_register_tokens=1, decoder_ffn_mult=1, latents_mean=(0.1,) * CHANNELS,
        latents_std=(1.1,) * CHANNELS,
    ).eval()  # fmt: skip


def audio_vae() -> Any:
    """Sound of 160 samples per second, 4 per latent."""
    from diffusers import AutoencoderKLMiniMaxH3Audio

    return AutoencoderKLMiniMaxH3Audio(
        encoder_dim=4, encoder_rates=(2, 2), latent_dim=16, latent_channels=AUDIO_CHANNELS, num_attention_heads=1,
        decoder_dim=8, decoder_rates=(2, 2), decoder_kernel_sizes=(4, 4), resblock_kernel_sizes=(3,),
        resblock_dilation_sizes=((1,),), sampling_rate=160, latents_mean=[0.1] * AUDIO_CHANNELS,
        latents_std=[1.1] * AUDIO_CHANNELS,
    ).eval()  # fmt: skip


def transformer() -> Any:
    from diffusers import MiniMaxH3Transformer3DModel

    model = MiniMaxH3Transformer3DModel(
        num_attention_heads=2, attention_head_dim=12, hidden_size=16, num_layers=1, num_refiner_layers=1, ffn_dim=16,
        in_channels=CHANNELS, audio_in_channels=AUDIO_CHANNELS, text_dim=8, freq_dim=16, time_embed_hidden_dim=16,
        time_embed_dim=16, rope_freq_dim=2,
    )  # fmt: skip
    return parts.fill_zeros(model).eval()


def components() -> Words:
    from diffusers import MiniMaxH3Scheduler

    tokens = tokenizer()
    return {
        "text_encoder": text_encoder(tokens), "tokenizer": tokens, "processor": processor(tokens), "vae": vae(),
        "audio_vae": audio_vae(), "scheduler": MiniMaxH3Scheduler(shift=12.0),
        "audio_scheduler": MiniMaxH3Scheduler(shift=3.0), "transformer": transformer(),
        "transformer_ref": transformer(), "reference_image_short_edge": 32, "canvas_short_edge": 32,
        "canvas_max_pixels": 32 * 64,
    }  # fmt: skip


def first(call: TinyCall) -> Words:
    return {"image": parts.image(call.width, call.height, 40)}


def last(call: TinyCall) -> Words:
    return {"last_image": parts.image(call.width, call.height, 200)}


def first_and_last(call: TinyCall) -> Words:
    return first(call) | last(call)


def references(call: TinyCall) -> Words:
    return {"references": [parts.image(32, 32, 90), parts.image(64, 32, 160)]}


def call_references(call: TinyCall) -> Words:
    from diffusers.modular_pipelines.minimax_h3 import MiniMaxH3ImageReference

    return {"references": [MiniMaxH3ImageReference(image=image) for image in references(call)["references"]]}


def clip_row(name: str, **more: Any) -> Tiny:
    return row(
        name, components, options={}, sizes=SIZES, without=("negative_prompt",), batch=False, guides=False, **more
    )


ROWS = (
    clip_row(NAME),
    clip_row(f"{NAME}:image", given=first),
    clip_row(f"{NAME}:first-and-last", given=first_and_last),
    clip_row(f"{NAME}:references", given=references, arguments=call_references),
)
