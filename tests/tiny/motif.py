"""Motif-Video: text and first frame to video; guidance is a component of the pipeline."""

from __future__ import annotations

from typing import Any

from tests.tiny import parts
from tests.tiny.table import Tiny, TinyCall

SIZES = ((5, 32, 32), (9, 48, 32))
OPTIONS = {"max_sequence_length": 16}


def components() -> dict[str, Any]:
    from diffusers import ClassifierFreeGuidance, FlowMatchEulerDiscreteScheduler, MotifVideoTransformer3DModel

    parts.seed()
    transformer = MotifVideoTransformer3DModel(
        in_channels=9, out_channels=4, num_attention_heads=2, attention_head_dim=16, num_layers=1, num_single_layers=1,
        mlp_ratio=1.0, text_embed_dim=16, image_embed_dim=16, rope_axes_dim=(4, 6, 6),
        enable_text_cross_attention_dual=True,
    ).eval()  # fmt: skip
    return {
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), "vae": parts.wan_vae(4),
        "text_encoder": text_encoder(), "tokenizer": parts.word_tokenizer(), "transformer": transformer,
        "guider": ClassifierFreeGuidance(guidance_scale=5.0),
    }  # fmt: skip


def text_encoder() -> Any:
    """T5Gemma 2's encoder with its vision tower for images of 32 px."""
    from transformers import T5Gemma2EncoderConfig
    from transformers.models.t5gemma2.modeling_t5gemma2 import T5Gemma2Encoder

    text = dict(
        vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, dropout_rate=0.0, layer_types=["sliding_attention", "full_attention"],
    )  # fmt: skip
    vision = dict(
        model_type="siglip_vision_model", hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, image_size=32, patch_size=8,
    )  # fmt: skip
    config = T5Gemma2EncoderConfig(
        text_config=text, vision_config=vision, mm_tokens_per_image=4, eoi_token_index=62, boi_token_index=61,
        image_token_index=63,
    )  # fmt: skip
    return T5Gemma2Encoder(config, eoi_token_index=62).eval()


def build_text() -> Any:
    from diffusers import MotifVideoPipeline

    return parts.quiet(MotifVideoPipeline(**components()))


def build_image() -> Any:
    from diffusers import MotifVideoImage2VideoPipeline

    processor = parts.siglip_image_processor()
    return parts.quiet(MotifVideoImage2VideoPipeline(**components(), feature_extractor=processor))


def prepare(pipeline: Any, call: TinyCall) -> None:
    pipeline.guider = pipeline.guider.new(guidance_scale=5.0 if call.guided else 1.0)


def text_call(call: TinyCall) -> dict[str, Any]:
    return {
        "prompt": call.prompt, "negative_prompt": call.negative_prompt, "num_frames": call.frames,
        "height": call.height, "width": call.width, "num_inference_steps": call.steps, **OPTIONS,
    }  # fmt: skip


def given(call: TinyCall) -> dict[str, Any]:
    return {"image": parts.image(call.width, call.height, 60)}


def image_call(call: TinyCall) -> dict[str, Any]:
    return text_call(call) | given(call)


# No further solvers: of those that take the sigmas of its schedule, one draws no noise of its own.
ROWS = (
    Tiny(
        "MotifVideoPipeline", build_text, text_call, sizes=SIZES, options=OPTIONS, prepare=prepare, core=True,
    ),
    Tiny(
        "MotifVideoImage2VideoPipeline", build_image, image_call, sizes=SIZES, given=given, options=OPTIONS,
        prepare=prepare, batch=False,
    ),
)  # fmt: skip
