"""Early UNets, deprecated in the library: TextToVideoSD, VideoToVideoSD, I2VGenXL, PIA and Text2Video-Zero."""

from __future__ import annotations

from typing import Any

from tests.tiny import animatediff, parts
from tests.tiny.table import Tiny, TinyCall

SIZES = ((3, 32, 32), (4, 48, 32))
SOLVERS = ("EulerDiscreteScheduler", "DPMSolverMultistepScheduler")
STRENGTH = 0.7
#: Text2Video-Zero warps the latents of the step before the last; its defaults suit 50 steps.
ZERO_OPTIONS = {"t0": 1, "t1": 2, "motion_field_strength_x": 12, "motion_field_strength_y": 12}


def ddim() -> Any:
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )


def components() -> dict[str, Any]:
    from diffusers import UNet3DConditionModel

    parts.seed()
    unet = UNet3DConditionModel(
        sample_size=4, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, cross_attention_dim=16,
        attention_head_dim=4, down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
    ).eval()  # fmt: skip
    return {
        "vae": parts.kl_vae(), "text_encoder": parts.clip_text(), "tokenizer": parts.word_tokenizer(), "unet": unet,
        "scheduler": ddim(),
    }  # fmt: skip


def build_text() -> Any:
    from diffusers import TextToVideoSDPipeline

    return parts.quiet(TextToVideoSDPipeline(**components()))


def build_video() -> Any:
    from diffusers import VideoToVideoSDPipeline

    return parts.quiet(VideoToVideoSDPipeline(**components()))


def build_i2vgen() -> Any:
    from diffusers import I2VGenXLPipeline, I2VGenXLUNet

    parts.seed()
    unet = I2VGenXLUNet(
        sample_size=4, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, cross_attention_dim=16,
        attention_head_dim=4, down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
    ).eval()  # fmt: skip
    return parts.quiet(
        I2VGenXLPipeline(
            parts.kl_vae(), parts.clip_text(), parts.word_tokenizer(), parts.clip_vision(projection=16),
            parts.clip_image_processor(), unet, ddim(),
        )
    )  # fmt: skip


def build_pia() -> Any:
    from diffusers import PIAPipeline

    parts.seed()
    return parts.quiet(
        PIAPipeline(
            vae=parts.kl_vae(), text_encoder=parts.clip_text(), tokenizer=parts.word_tokenizer(),
            unet=parts.unet2d(), motion_adapter=animatediff.adapter(conv_in_channels=9),
            scheduler=animatediff.ddim(),
        )
    )  # fmt: skip


def build_zero() -> Any:
    from diffusers import TextToVideoZeroPipeline

    parts.seed()
    return parts.quiet(
        TextToVideoZeroPipeline(
            vae=parts.kl_vae(), text_encoder=parts.clip_text(), tokenizer=parts.word_tokenizer(), unet=parts.unet2d(),
            scheduler=ddim(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )
    )  # fmt: skip


def build_zero_sdxl() -> Any:
    from diffusers import TextToVideoZeroSDXLPipeline

    parts.seed()
    return parts.quiet(
        TextToVideoZeroSDXLPipeline(
            vae=parts.kl_vae(), text_encoder=parts.clip_text(), text_encoder_2=parts.clip_text(projection=16),
            tokenizer=parts.word_tokenizer(), tokenizer_2=parts.word_tokenizer(), unet=animatediff.unet_sdxl(),
            scheduler=ddim(),
        )
    )  # fmt: skip


def text_call(call: TinyCall) -> dict[str, Any]:
    return {
        "prompt": call.prompt, "negative_prompt": call.negative_prompt, "num_frames": call.frames,
        "height": call.height, "width": call.width, "num_inference_steps": call.steps,
        "guidance_scale": 9.0 if call.guided else 1.0,
    }  # fmt: skip


def video(call: TinyCall) -> dict[str, Any]:
    return {"video": parts.clip(call.frames, call.width, call.height), "strength": STRENGTH}


def video_call(call: TinyCall) -> dict[str, Any]:
    arguments = text_call(call) | video(call)
    for name in ("num_frames", "height", "width"):
        del arguments[name]
    return arguments


def image(call: TinyCall) -> dict[str, Any]:
    return {"image": parts.image(call.width, call.height, 60)}


def i2vgen_call(call: TinyCall) -> dict[str, Any]:
    # clip_skip: its default fails with CLIPTextModel of transformers 5.
    return text_call(call) | image(call) | {"clip_skip": None, "target_fps": 16}


def pia_call(call: TinyCall) -> dict[str, Any]:
    return text_call(call) | image(call) | {"motion_scale": 1}


def zero_call(call: TinyCall) -> dict[str, Any]:
    arguments = text_call(call)
    arguments["video_length"] = arguments.pop("num_frames")
    return arguments | ZERO_OPTIONS


def zero_guided_call(call: TinyCall) -> dict[str, Any]:
    """This class fails without guidance."""
    return zero_call(call) | {"guidance_scale": 9.0}


ROWS = (
    Tiny("TextToVideoSDPipeline", build_text, text_call, sizes=SIZES, solvers=SOLVERS, core=True),
    Tiny(
        "VideoToVideoSDPipeline", build_video, video_call, sizes=SIZES, given=video, solvers=SOLVERS, batch=False
    ),
    Tiny(
        "I2VGenXLPipeline", build_i2vgen, i2vgen_call, sizes=SIZES, given=image,
        options={"clip_skip": None, "target_fps": 16}, solvers=SOLVERS, batch=False,
    ),
    Tiny(
        "PIAPipeline", build_pia, pia_call, sizes=SIZES, given=image, options={"motion_scale": 1}, solvers=SOLVERS,
        batch=False,
    ),
    Tiny(
        "TextToVideoZeroPipeline", build_zero, zero_guided_call, sizes=SIZES, options=ZERO_OPTIONS, batch=False,
        guides=False,
    ),
    Tiny("TextToVideoZeroSDXLPipeline", build_zero_sdxl, zero_call, sizes=SIZES, options=ZERO_OPTIONS, batch=False),
)  # fmt: skip
