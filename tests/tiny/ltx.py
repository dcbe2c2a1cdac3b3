"""Tiny LTX-Video pipelines: text and image to video, conditions at frames, long clips of several prompts, upsampling.

Latents are 32 px and 8 frames apart. The variant `:decode-noise` has a VAE with timestep conditioning, whose decoder
takes noised latents.
"""

from __future__ import annotations

from typing import Any

from tests.tiny import parts
from tests.tiny.table import Tiny, TinyCall

SIZES = ((9, 64, 32), (17, 32, 64))
OPTIONS: dict[str, Any] = {"max_sequence_length": 16}
DECODE_NOISE: dict[str, Any] = {"decode_timestep": 0.05, "decode_noise_scale": 0.025}
LONG: dict[str, Any] = {
    "temporal_tile_size": 16, "temporal_overlap": 8, "seed": None, "decode_horizontal_tiles": 1,
    "decode_vertical_tiles": 1, "decode_overlap": 0,
}  # fmt: skip
CHANNELS = 4


def vae(*, timestep_conditioning: bool = False) -> Any:
    """32 px and 8 frames per latent."""
    from diffusers import AutoencoderKLLTXVideo

    layers = (1, 1, 1, 1, 1)
    model = AutoencoderKLLTXVideo(
        latent_channels=CHANNELS, block_out_channels=(4, 4, 4, 4), decoder_block_out_channels=(4, 4, 4, 4),
        layers_per_block=layers, decoder_layers_per_block=layers, timestep_conditioning=timestep_conditioning,
    )  # fmt: skip
    model.latents_mean += 0.1
    model.latents_std *= 0.9
    return model.eval()


def scheduler() -> Any:
    """As the checkpoints configure it: shift by the count of tokens, a last sigma of 0.1."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, base_image_seq_len=1024, max_image_seq_len=4096,
        shift_terminal=0.1,
    )  # fmt: skip


def build(name: str, *, timestep_conditioning: bool = False, solver: Any = scheduler) -> Any:
    import diffusers

    parts.seed()
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=CHANNELS, out_channels=CHANNELS, num_attention_heads=2, attention_head_dim=8,
        cross_attention_dim=16, num_layers=1, caption_channels=16,
    )  # fmt: skip
    pipeline = getattr(diffusers, name)(
        scheduler=solver(), vae=vae(timestep_conditioning=timestep_conditioning), text_encoder=parts.t5(),
        tokenizer=parts.word_tokenizer(), transformer=transformer.eval(),
    )  # fmt: skip
    return parts.quiet(pipeline)


def build_condition() -> Any:
    """Its schedule is given as timesteps, so the checkpoint's scheduler has no shift."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return build("LTXConditionPipeline", solver=FlowMatchEulerDiscreteScheduler)


def build_long() -> Any:
    from diffusers import LTXEulerAncestralRFScheduler

    return build("LTXI2VLongMultiPromptPipeline", solver=LTXEulerAncestralRFScheduler)


def build_upsampler() -> Any:
    from diffusers import LTXLatentUpsamplePipeline
    from diffusers.pipelines.ltx import LTXLatentUpsamplerModel

    parts.seed()
    model = LTXLatentUpsamplerModel(in_channels=CHANNELS, mid_channels=32, num_blocks_per_stage=1)
    return parts.quiet(LTXLatentUpsamplePipeline(vae=vae(), latent_upsampler=model.eval()))


def text(call: TinyCall) -> dict[str, Any]:
    return {
        "prompt": call.prompt, "negative_prompt": call.negative_prompt, "height": call.height, "width": call.width,
        "num_frames": call.frames, "frame_rate": 24, "num_inference_steps": call.steps,
        "guidance_scale": 3.0 if call.guided else 1.0, "max_sequence_length": 16,
    }  # fmt: skip


def first_frame(call: TinyCall) -> dict[str, Any]:
    return {"image": parts.image(call.width, call.height)}


def call_image(call: TinyCall) -> dict[str, Any]:
    image = first_frame(call)["image"]
    return text(call) | {"image": image if len(call.prompts) == 1 else [image] * len(call.prompts)}


def keyframes(call: TinyCall) -> dict[str, Any]:
    return {"images": {index: parts.image(call.width, call.height, 20 * index) for index in (0, 8)}}


def call_keyframes(call: TinyCall) -> dict[str, Any]:
    from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition

    images = keyframes(call)["images"]
    return text(call) | {
        "conditions": [LTXVideoCondition(image=image, frame_index=index) for index, image in images.items()]
    }


def source(call: TinyCall) -> dict[str, Any]:
    """The video's first 9 frames."""
    return {"video": parts.clip(9, call.width, call.height), "strength": 0.8}


def call_long(call: TinyCall) -> dict[str, Any]:
    return text(call) | LONG | {"cond_image": first_frame(call)["image"], "cond_strength": 0.5}


def half_size(call: TinyCall) -> dict[str, Any]:
    """The clip to upsample."""
    return {"video": parts.clip(call.frames, call.width // 2, call.height // 2)}


def call_upsampler(call: TinyCall) -> dict[str, Any]:
    """height, width: of the source."""
    return half_size(call) | {"height": call.height // 2, "width": call.width // 2}


ROWS = (
    Tiny("LTXPipeline", lambda: build("LTXPipeline"), text, SIZES, options=OPTIONS, core=True),
    Tiny(
        "LTXPipeline:decode-noise",
        build=lambda: build("LTXPipeline", timestep_conditioning=True),
        call=lambda call: text(call) | DECODE_NOISE,
        sizes=SIZES, options=OPTIONS | DECODE_NOISE,
    ),
    Tiny(
        "LTXImageToVideoPipeline",
        build=lambda: build("LTXImageToVideoPipeline"),
        call=call_image, given=first_frame,
        sizes=SIZES, options=OPTIONS,
    ),
    Tiny(
        "LTXImageToVideoPipeline:decode-noise",
        build=lambda: build("LTXImageToVideoPipeline", timestep_conditioning=True),
        call=lambda call: call_image(call) | DECODE_NOISE, given=first_frame,
        sizes=SIZES, options=OPTIONS | DECODE_NOISE, batch=False,
    ),
    Tiny(
        "LTXConditionPipeline",
        build=build_condition, call=call_keyframes, given=keyframes,
        sizes=SIZES, options=OPTIONS, batch=False,
    ),
    Tiny(
        "LTXConditionPipeline:text",
        build=build_condition, call=text, sizes=SIZES, options=OPTIONS,
    ),
    Tiny(
        "LTXConditionPipeline:video",
        build=build_condition, call=lambda call: text(call) | source(call), given=source,
        sizes=((17, 64, 32), (25, 32, 64)), options=OPTIONS, batch=False,
    ),
    Tiny(
        "LTXI2VLongMultiPromptPipeline",
        build=build_long, call=call_long, given=first_frame,
        sizes=((9, 64, 32), (25, 32, 64)), options=OPTIONS | LONG, batch=False,
    ),
    Tiny(
        "LTXLatentUpsamplePipeline",
        build=build_upsampler, call=call_upsampler, given=half_size,
        sizes=((9, 128, 64), (17, 64, 128)), batch=False, guides=False,
    ),
)  # fmt: skip

UNAVAILABLE: dict[str, str] = {}
