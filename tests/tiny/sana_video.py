"""Tiny Sana-Video pipelines with Wan's VAE: text and image to video.

Without an instruction in front of the prompt and without resolution bins, which resize the result; both are on by
default.
"""

from __future__ import annotations

from typing import Any

from tests.tiny import parts
from tests.tiny.table import Tiny, TinyCall

SIZES = ((5, 32, 32), (9, 64, 32))
OPTIONS: dict[str, Any] = {
    "max_sequence_length": 16, "complex_human_instruction": None, "use_resolution_binning": False,
}  # fmt: skip
CHANNELS = 4


def gemma2() -> Any:
    from transformers import Gemma2Config, Gemma2Model

    config = Gemma2Config(
        vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, pad_token_id=0, eos_token_id=1, bos_token_id=1,
    )  # fmt: skip
    return Gemma2Model(config).eval()


def build(name: str, scheduler: Any) -> Any:
    import diffusers

    parts.seed()
    transformer = diffusers.SanaVideoTransformer3DModel(
        in_channels=CHANNELS, out_channels=CHANNELS, num_attention_heads=1, attention_head_dim=16, num_layers=1,
        num_cross_attention_heads=1, cross_attention_head_dim=16, cross_attention_dim=16, caption_channels=16,
        mlp_ratio=1.0, sample_size=4, rope_max_seq_len=32,
    )  # fmt: skip
    pipeline = getattr(diffusers, name)(
        tokenizer=parts.word_tokenizer(), text_encoder=gemma2(), vae=parts.wan_vae(CHANNELS),
        transformer=transformer.eval(), scheduler=scheduler,
    )  # fmt: skip
    return parts.quiet(pipeline)


def build_text() -> Any:
    from diffusers import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=8.0)
    return build("SanaVideoPipeline", scheduler)


def build_image() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return build("SanaImageToVideoPipeline", FlowMatchEulerDiscreteScheduler(shift=8.0))


def text(call: TinyCall) -> dict[str, Any]:
    return {
        "prompt": call.prompt, "negative_prompt": call.negative_prompt, "height": call.height, "width": call.width,
        "frames": call.frames, "num_inference_steps": call.steps, "guidance_scale": 4.0 if call.guided else 1.0,
        **OPTIONS,
    }  # fmt: skip


def first_frame(call: TinyCall) -> dict[str, Any]:
    return {"image": parts.image(call.width, call.height)}


ROWS = (
    Tiny(
        "SanaVideoPipeline",
        build=build_text, call=text, sizes=SIZES, options=OPTIONS,
        solvers=("UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler"), core=True,
    ),
    Tiny(
        "SanaImageToVideoPipeline",
        build=build_image, call=lambda call: text(call) | first_frame(call), given=first_frame,
        sizes=SIZES, options=OPTIONS, batch=False,
    ),
)  # fmt: skip

UNAVAILABLE: dict[str, str] = {
    "SanaWMPipeline": "not yet built: needs camera rays, and its image size rule is one of 720p",
}
