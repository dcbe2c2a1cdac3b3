"""Wan and the pipelines derived from it: Lucy-Edit, ChronoEdit, AnyFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.tiny import parts
from tests.tiny.table import Tiny, TinyCall

#: Tokens of the tiny CLIP image encoder: four patches and one of the class.
IMAGE_TOKENS = 5
#: The text length that the attention of models with an image encoder assumes.
TEXT = 512
#: Pixels along each side of a face image.
FACE = 16
SIZES = ((5, 32, 32), (9, 48, 32))
SIZES_22 = ((5, 64, 64), (9, 96, 64))
SOLVERS = ("FlowMatchEulerDiscreteScheduler", "DPMSolverMultistepScheduler")

SHORT = {"max_sequence_length": 16}

Words = dict[str, Any]


def denoiser(name: str = "WanTransformer3DModel", **config: Any) -> Any:
    """A denoiser of Wan's lineage by class name: 2 layers, width 16."""
    import diffusers

    common = {
        "num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 4, "out_channels": 4, "text_dim": 16,
        "freq_dim": 16, "ffn_dim": 16, "num_layers": 2, "rope_max_seq_len": 32,
    }  # fmt: skip
    return getattr(diffusers, name)(**{**common, **config}).eval()


def image_denoiser(name: str = "WanTransformer3DModel", **config: Any) -> Any:
    """A denoiser that also attends to the image encoder's tokens."""
    return denoiser(name, **{"in_channels": 12, "image_dim": 16, "added_kv_proj_dim": 16, **config})


def text_parts() -> Words:
    return {"tokenizer": parts.word_tokenizer(), "text_encoder": parts.umt5()}


def image_parts() -> Words:
    return {"image_encoder": parts.clip_vision(), "image_processor": parts.clip_image_processor()}


def assemble(name: str, **components: Any) -> Any:
    """A pipeline by class name, of these components and those that all of Wan's lineage share."""
    import diffusers

    components = {**text_parts(), "scheduler": parts.flow_unipc(), **components}
    return parts.quiet(getattr(diffusers, name)(**components))


def builder(name: str, components: Callable[[], Words]) -> Callable[[], Any]:
    """A function that builds the pipeline with the same weights each time."""

    def build() -> Any:
        parts.seed()
        return assemble(name, **components())

    return build


def words(call: TinyCall, length: int = 16) -> Words:
    """Arguments that all pipelines of Wan's lineage have."""
    return {
        "prompt": call.prompt, "negative_prompt": call.negative_prompt, "height": call.height, "width": call.width,
        "num_inference_steps": call.steps, "guidance_scale": 5.0 if call.guided else 1.0,
        "max_sequence_length": length,
    }  # fmt: skip


def first(call: TinyCall) -> Words:
    return {"image": parts.image(call.width, call.height, 40)}


def first_and_last(call: TinyCall) -> Words:
    return {**first(call), "last_image": parts.image(call.width, call.height, 200)}


def source(call: TinyCall) -> Words:
    return {"video": parts.clip(call.frames, call.width, call.height)}


def beginning(call: TinyCall) -> Words:
    """A video of one frame that the clip continues."""
    return {"video": parts.clip(1, call.width, call.height)}


def text_row(
    name: str, components: Callable[[], Words], sizes: tuple[Any, ...] = SIZES, core: bool = False, **options: Any
) -> Tiny:
    options = {**SHORT, **options}

    def call(tiny: TinyCall) -> Words:
        return {**words(tiny), "num_frames": tiny.frames, **options}

    return Tiny(name, builder("WanPipeline", components), call, sizes, options=options, solvers=SOLVERS, core=core)


def image_row(
    name: str, components: Callable[[], Words], given: Callable[[TinyCall], Words] = first, length: int = TEXT,
    sizes: tuple[Any, ...] = SIZES,
) -> Tiny:  # fmt: skip
    def call(tiny: TinyCall) -> Words:
        return {**words(tiny, length), "num_frames": tiny.frames, **given(tiny)}

    return Tiny(
        name, builder("WanImageToVideoPipeline", components), call, sizes, given, {"max_sequence_length": length},
        SOLVERS,
    )  # fmt: skip


def text_to_video() -> Words:
    return {"vae": parts.wan_vae(), "transformer": denoiser()}


def text_experts() -> Words:
    return {**text_to_video(), "transformer_2": denoiser(), "boundary_ratio": 0.7}


def text_expand() -> Words:
    return {"vae": parts.wan_vae_22(), "transformer": denoiser(), "expand_timesteps": True}


def image_to_video(**config: Any) -> Words:
    return {"vae": parts.wan_vae(), "transformer": image_denoiser(**config), **image_parts()}


def image_to_video_ends() -> Words:
    return image_to_video(pos_embed_seq_len=2 * IMAGE_TOKENS)


def image_experts() -> Words:
    """2.2 A14B: two experts, no image encoder."""
    return {
        "vae": parts.wan_vae(), "transformer": denoiser(in_channels=12), "transformer_2": denoiser(in_channels=12),
        "boundary_ratio": 0.7,
    }  # fmt: skip


def vace() -> Words:
    model = denoiser("WanVACETransformer3DModel", vace_layers=[0, 1], vace_in_channels=2 * 4 + 64)
    return {"vae": parts.wan_vae(), "transformer": model}


def vace_row(name: str, given: Callable[[TinyCall], Words], core: bool = False) -> Tiny:
    names = {"video": "video", "mask": "mask", "references": "reference_images"}

    def call(tiny: TinyCall) -> Words:
        return {**words(tiny), "num_frames": tiny.frames, **{names[key]: value for key, value in given(tiny).items()}}

    return Tiny(
        name, builder("WanVACEPipeline", vace), call, SIZES, given, {"max_sequence_length": 16}, SOLVERS, batch=False
    )


def masked(call: TinyCall) -> Words:
    return {**source(call), "mask": parts.mask(call.frames, call.width, call.height)}


def references(call: TinyCall) -> Words:
    return {"references": [parts.image(call.width, call.height, 90), parts.image(call.width, call.height, 160)]}


def animate() -> Words:
    model = image_denoiser(
        "WanAnimateTransformer3DModel", latent_channels=4, motion_encoder_size=FACE, motion_style_dim=8, motion_dim=4,
        motion_encoder_dim=8, face_encoder_hidden_dim=8, face_encoder_num_heads=2, inject_face_latents_blocks=2,
        motion_encoder_channel_sizes={str(2**i): 8 for i in range(2, 6)},
    )  # fmt: skip
    return {"vae": parts.wan_vae(), "transformer": model, **image_parts()}


def driving(call: TinyCall) -> Words:
    """A character's image, and the pose and face videos that move it."""
    control = {
        "pose": parts.clip(call.frames, call.width, call.height),
        "face": parts.clip(call.frames, FACE, FACE),
    }
    return {**first(call), "control": control}


def replacement(call: TinyCall) -> Words:
    """Also the video in which the character is replaced, and where."""
    return {**driving(call), **masked(call)}


def animate_row(name: str, given: Callable[[TinyCall], Words], **options: Any) -> Tiny:
    """Segments of 5 frames that overlap by 1: the longer size takes two."""
    options = {"segment_frame_length": 5, "max_sequence_length": TEXT, **options}

    def call(tiny: TinyCall) -> Words:
        conditions = given(tiny)
        clips = {f"{key}_video": value for key, value in conditions["control"].items()}
        if "mask" in conditions:
            clips |= {"background_video": conditions["video"], "mask_video": conditions["mask"]}
        return {**words(tiny), **options, "image": conditions["image"], **clips}

    return Tiny(name, builder("WanAnimatePipeline", animate), call, SIZES, given, options, SOLVERS)


def video_to_video(call: TinyCall) -> Words:
    return {**words(call), **video_strength(call)}


def video_strength(call: TinyCall) -> Words:
    return {**source(call), "strength": 0.7}


def lucy_edit(call: TinyCall) -> Words:
    return {**words(call), "num_frames": call.frames, **source(call)}


def lucy_parts() -> Words:
    return {"vae": parts.wan_vae(), "transformer": denoiser(in_channels=8)}


def chrono_parts() -> Words:
    model = image_denoiser("ChronoEditTransformer3DModel", rope_temporal_skip_len=8)
    return {"vae": parts.wan_vae(), "transformer": model, **image_parts()}


def chrono_row(name: str, sizes: tuple[Any, ...], solvers: tuple[str, ...] = (), **options: Any) -> Tiny:
    """ChronoEdit makes 5 frames; with temporal reasoning, as many as requested.

    After `num_temporal_reasoning_steps` only the ends of the clip are denoised further, which 5 frames remain of;
    the loop then cuts the history of UniPC, and works with no other solver."""
    options = {"max_sequence_length": TEXT, **options}

    def call(tiny: TinyCall) -> Words:
        return {**words(tiny, TEXT), "num_frames": tiny.frames, **options, **first(tiny)}

    return Tiny(name, builder("ChronoEditPipeline", chrono_parts), call, sizes, first, options, solvers)


def anyflow_parts(name: str = "AnyFlowTransformer3DModel", **config: Any) -> Words:
    from diffusers import FlowMapEulerDiscreteScheduler

    return {
        "vae": parts.wan_vae(), "transformer": denoiser(name, **config),
        "scheduler": FlowMapEulerDiscreteScheduler(shift=5.0),
    }  # fmt: skip


def anyflow_far_parts() -> Words:
    return anyflow_parts("AnyFlowFARTransformer3DModel", full_chunk_limit=2, chunk_partition=(1, 2))


def anyflow_row(
    name: str, components: Callable[[], Words], given: Callable[[TinyCall], Words], sizes: tuple[Any, ...],
    **options: Any,
) -> Tiny:  # fmt: skip
    """FAR takes the clip that it continues as a tensor [b, f, c, h, w] in 0..1, the other class as images."""
    options = {**SHORT, **options}
    class_name = name.partition(":")[0]

    def call(tiny: TinyCall) -> Words:
        conditions = given(tiny)
        if "video" in conditions and class_name == "AnyFlowFARPipeline":
            conditions = {"video": parts.as_tensor(conditions["video"])[None]}
        return {**words(tiny), "num_frames": tiny.frames, **options, **conditions}

    solvers = ("FlowMatchEulerDiscreteScheduler",)
    return Tiny(name, builder(class_name, components), call, sizes, given, options, solvers)


def nothing(call: TinyCall) -> Words:
    return {}


FAR_SIZES = ((9, 32, 32), (9, 64, 32))
FAR_LONG = ((13, 32, 32), (13, 64, 32))
REASONING: Words = {"enable_temporal_reasoning": True, "num_temporal_reasoning_steps": 1000}
CUT: Words = {"num_frames": 17, "enable_temporal_reasoning": True, "num_temporal_reasoning_steps": 2}

ROWS: tuple[Tiny, ...] = (
    text_row("WanPipeline", text_to_video, core=True),
    text_row("WanPipeline:experts", text_experts, guidance_scale_2=3.0),
    text_row("WanPipeline:expand", text_expand, SIZES_22),
    image_row("WanImageToVideoPipeline", image_to_video),
    image_row("WanImageToVideoPipeline:last-image", image_to_video_ends, first_and_last),
    image_row("WanImageToVideoPipeline:experts", image_experts, length=16),
    image_row("WanImageToVideoPipeline:experts-last-image", image_experts, first_and_last, length=16),
    image_row("WanImageToVideoPipeline:expand", text_expand, length=16, sizes=SIZES_22),
    Tiny(
        "WanVideoToVideoPipeline", builder("WanVideoToVideoPipeline", text_to_video), video_to_video, SIZES,
        video_strength, SHORT, SOLVERS,
    ),
    vace_row("WanVACEPipeline", nothing),
    vace_row("WanVACEPipeline:mask", masked),
    vace_row("WanVACEPipeline:references", references),
    vace_row("WanVACEPipeline:mask-references", lambda call: {**masked(call), **references(call)}),
    animate_row("WanAnimatePipeline", driving),
    animate_row("WanAnimatePipeline:replace", replacement, mode="replace"),
    Tiny(
        "LucyEditPipeline", builder("LucyEditPipeline", lucy_parts), lucy_edit, SIZES, source, SHORT, SOLVERS,
        batch=False,
    ),
    chrono_row("ChronoEditPipeline", ((5, 32, 32), (5, 48, 32)), SOLVERS),
    chrono_row("ChronoEditPipeline:reasoning", ((9, 32, 32), (13, 48, 32)), SOLVERS, **REASONING),
    chrono_row("ChronoEditPipeline:reasoning-cut", ((5, 32, 32), (5, 48, 32)), **CUT),
    anyflow_row("AnyFlowPipeline", anyflow_parts, nothing, SIZES),
    anyflow_row("AnyFlowPipeline:video", anyflow_parts, beginning, SIZES),
    anyflow_row("AnyFlowFARPipeline", anyflow_far_parts, nothing, FAR_SIZES),
    anyflow_row("AnyFlowFARPipeline:segments", anyflow_far_parts, nothing, FAR_LONG, chunk_partition=[1, 1, 2]),
    anyflow_row("AnyFlowFARPipeline:video", anyflow_far_parts, beginning, FAR_SIZES),
)  # fmt: skip

#: Classes without a row, and why.
UNAVAILABLE: dict[str, str] = {}
