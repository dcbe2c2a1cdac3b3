"""AnimateDiff: an image UNet with a motion adapter, also SDXL, ControlNet, SparseCtrl, video to video and PAG."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.tiny import parts
from tests.tiny.table import Tiny, TinyCall

SIZES = ((4, 32, 32), (6, 48, 32))
SOLVERS = ("EulerDiscreteScheduler", "DPMSolverMultistepScheduler")
STRENGTH = 0.7


def ddim() -> Any:
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="linear", clip_sample=False, timestep_spacing="linspace",
        steps_offset=1,
    )  # fmt: skip


def adapter(**config: Any) -> Any:
    from diffusers import MotionAdapter

    config = (
        dict(
            block_out_channels=(8, 16),
            motion_layers_per_block=1,
            motion_norm_num_groups=4,
            motion_num_attention_heads=2,
        )
        | config
    )
    return MotionAdapter(**config).eval()  # type: ignore[arg-type]


def components() -> dict[str, Any]:
    """What all classes but SDXL's are built from."""
    parts.seed()
    return {
        "vae": parts.kl_vae(), "text_encoder": parts.clip_text(), "tokenizer": parts.word_tokenizer(),
        "unet": parts.unet2d(), "motion_adapter": adapter(), "scheduler": ddim(),
    }  # fmt: skip


def builder(name: str, **further: Callable[[], Any]) -> Callable[[], Any]:
    """A function that builds the class of this name; further: components by name, as functions."""

    def build() -> Any:
        import diffusers

        common = components()
        return parts.quiet(getattr(diffusers, name)(**common, **{key: part() for key, part in further.items()}))

    return build


def controlnet() -> Any:
    from diffusers import ControlNetModel

    model = ControlNetModel(
        in_channels=4, cross_attention_dim=16, attention_head_dim=2, layers_per_block=1, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), block_out_channels=(8, 16),
        conditioning_embedding_out_channels=(4, 4, 4, 4),
    )  # fmt: skip
    return parts.fill_zeros(model).eval()


def sparse_controlnet(*, latents: bool) -> Callable[[], Any]:
    """latents: the condition is encoded by the VAE (the RGB checkpoint), else by layers of its own (scribbles)."""

    def build() -> Any:
        from diffusers import SparseControlNetModel

        model = SparseControlNetModel(
            in_channels=4, conditioning_channels=4 if latents else 3, cross_attention_dim=16, attention_head_dim=2,
            layers_per_block=1, norm_num_groups=4, down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
            block_out_channels=(8, 16), conditioning_embedding_out_channels=(4, 4, 4, 4), motion_num_attention_heads=2,
            use_simplified_condition_embedding=latents,
        )  # fmt: skip
        return parts.fill_zeros(model).eval()

    return build


def unet_sdxl() -> Any:
    return parts.unet2d(
        cross_attention_dim=32, addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=64, use_linear_projection=True,
    )  # fmt: skip


def build_sdxl() -> Any:
    from diffusers import AnimateDiffSDXLPipeline

    parts.seed()
    unet = unet_sdxl()
    return parts.quiet(
        AnimateDiffSDXLPipeline(
            vae=parts.kl_vae(), text_encoder=parts.clip_text(), text_encoder_2=parts.clip_text(projection=16),
            tokenizer=parts.word_tokenizer(), tokenizer_2=parts.word_tokenizer(), unet=unet,
            motion_adapter=adapter(use_motion_mid_block=False), scheduler=ddim(),
        )
    )  # fmt: skip


def text_call(call: TinyCall) -> dict[str, Any]:
    return {
        "prompt": call.prompt, "negative_prompt": call.negative_prompt, "num_frames": call.frames,
        "height": call.height, "width": call.width, "num_inference_steps": call.steps,
        "guidance_scale": 7.5 if call.guided else 1.0,
    }  # fmt: skip


def control(call: TinyCall) -> dict[str, Any]:
    return {"control": {"control": parts.clip(call.frames, call.width, call.height)}}


def control_call(call: TinyCall) -> dict[str, Any]:
    return text_call(call) | {"conditioning_frames": control(call)["control"]["control"]}


def key_images(call: TinyCall) -> dict[str, Any]:
    size = call.width, call.height
    return {"images": {0: parts.image(*size, 40), call.frames - 1: parts.image(*size, 200)}}


def sparse_call(call: TinyCall) -> dict[str, Any]:
    images = key_images(call)["images"]
    return text_call(call) | {
        "conditioning_frames": list(images.values()), "controlnet_frame_indices": list(images),
    }  # fmt: skip


def video(call: TinyCall) -> dict[str, Any]:
    return {"video": parts.clip(call.frames, call.width, call.height), "strength": STRENGTH}


def video_call(call: TinyCall) -> dict[str, Any]:
    arguments = text_call(call) | video(call)
    del arguments["num_frames"]
    return arguments


def controlled_video_call(call: TinyCall) -> dict[str, Any]:
    return video_call(call) | {"conditioning_frames": control(call)["control"]["control"]}


def pag_call(call: TinyCall) -> dict[str, Any]:
    return text_call(call) | {"pag_scale": 3.0}


ROWS = (
    Tiny(
        "AnimateDiffPipeline", builder("AnimateDiffPipeline"), text_call, sizes=SIZES, solvers=SOLVERS, core=True
    ),
    Tiny("AnimateDiffSDXLPipeline", build_sdxl, text_call, sizes=SIZES, solvers=SOLVERS),
    Tiny(
        "AnimateDiffControlNetPipeline", builder("AnimateDiffControlNetPipeline", controlnet=controlnet), control_call,
        sizes=SIZES, given=control, solvers=SOLVERS, batch=False,
    ),
    Tiny(
        "AnimateDiffSparseControlNetPipeline",
        builder("AnimateDiffSparseControlNetPipeline", controlnet=sparse_controlnet(latents=False)), sparse_call,
        sizes=SIZES, given=key_images, solvers=SOLVERS, batch=False,
    ),
    Tiny(
        "AnimateDiffSparseControlNetPipeline:latents",
        builder("AnimateDiffSparseControlNetPipeline", controlnet=sparse_controlnet(latents=True)), sparse_call,
        sizes=SIZES, given=key_images, solvers=SOLVERS, batch=False,
    ),
    Tiny(
        "AnimateDiffVideoToVideoPipeline", builder("AnimateDiffVideoToVideoPipeline"), video_call, sizes=SIZES,
        given=video, solvers=SOLVERS, batch=False,
    ),
    Tiny(
        "AnimateDiffVideoToVideoControlNetPipeline",
        builder("AnimateDiffVideoToVideoControlNetPipeline", controlnet=controlnet), controlled_video_call,
        sizes=SIZES, given=lambda call: video(call) | control(call), solvers=SOLVERS, batch=False,
    ),
    Tiny(
        "AnimateDiffPAGPipeline", builder("AnimateDiffPAGPipeline"), pag_call, sizes=SIZES, options={"pag_scale": 3.0},
        solvers=SOLVERS,
    ),
)  # fmt: skip
