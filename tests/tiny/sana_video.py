"""Tiny Sana-Video pipelines with Wan's VAE, text and image to video, and the world model with LTX-2's.

Without an instruction in front of the prompt and without resolution bins, which resize the result; both are on by
default.
"""

from __future__ import annotations

from typing import Any

from tests.tiny import ltx2, parts
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


#: a world model's latents: those of LTX-2, of which a first block attends linearly and a second by softmax
WORLD_SIZES = ((9, 64, 64), (17, 96, 64))


def gemma2_for_text() -> Any:
    from transformers import Gemma2ForCausalLM

    return Gemma2ForCausalLM(gemma2().config).eval()


def build_world() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, SanaWMPipeline, SanaWMTransformer3DModel

    parts.seed()
    transformer = SanaWMTransformer3DModel(
        in_channels=ltx2.CHANNELS, num_layers=2, hidden_size=32, num_attention_heads=2, linear_head_dim=16,
        softmax_every_n=2, caption_channels=16, mlp_ratio=1.0,
    )  # fmt: skip
    pipeline = SanaWMPipeline(
        tokenizer=parts.word_tokenizer(), text_encoder=gemma2_for_text(), vae=ltx2.vae(),
        transformer=parts.fill_zeros(transformer).eval(), scheduler=FlowMatchEulerDiscreteScheduler(shift=8.0),
    )  # fmt: skip
    return parts.quiet(pipeline)


def camera(call: TinyCall) -> dict[str, Any]:
    """A walk forward as long as the video; focal lengths and centre in pixels of the image."""
    width, height = float(call.width), float(call.height)
    return {"action": f"w-{call.frames - 1}", "intrinsics": [width, width, width / 2, height / 2]}


def call_world(call: TinyCall) -> dict[str, Any]:
    arguments = {key: value for key, value in text(call).items() if key not in OPTIONS and key != "frames"}
    return arguments | first_frame(call) | camera(call) | {"num_frames": call.frames, "max_sequence_length": 16}


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
    Tiny(
        "SanaWMPipeline",
        build=build_world, call=call_world, given=first_frame,
        sizes=WORLD_SIZES, options={"max_sequence_length": 16}, batch=False,
    ),
)  # fmt: skip
