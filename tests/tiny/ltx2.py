"""Tiny LTX-2 pipelines: video with sound from text, an image, conditions at frames or reference clips; upsampling.

Latents are 32 px and 8 frames apart. Video and audio have a solver each; a result has `frames` and `audio`.
"""

from __future__ import annotations

from typing import Any

from tests.tiny import parts
from tests.tiny.table import Tiny, TinyCall

SIZES = ((9, 64, 64), (17, 96, 64))
CHANNELS = 4
LAYERS = 2
OPTIONS: dict[str, Any] = {"max_sequence_length": 16, "stg_scale": 0.0}


def text_encoder() -> Any:
    """Gemma 3; its vision tower is not used for prompts."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    config = Gemma3Config(
        text_config={
            "vocab_size": 64, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": LAYERS,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "sliding_window": 16,
            "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1,
        },
        vision_config={
            "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "image_size": 16, "patch_size": 8,
        },
        mm_tokens_per_image=4, image_token_index=60, boi_token_index=61, eoi_token_index=62,
    )  # fmt: skip
    return Gemma3ForConditionalGeneration(config).eval()


def vae() -> Any:
    """32 px and 8 frames per latent."""
    from diffusers import AutoencoderKLLTX2Video

    model = AutoencoderKLLTX2Video(
        latent_channels=CHANNELS, block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 16, 32),
        layers_per_block=(1, 1, 1, 1, 1), decoder_layers_per_block=(1, 1, 1, 1),
        spatial_compression_ratio=32, temporal_compression_ratio=8,
    )  # fmt: skip
    model.latents_mean += 0.1
    model.latents_std *= 0.9
    return model.eval()


def audio_vae() -> Any:
    """Mel spectrograms of 16 bins; 4 bins and 4 frames per latent."""
    from diffusers import AutoencoderKLLTX2Audio

    return AutoencoderKLLTX2Audio(
        base_channels=8, ch_mult=(1, 1, 1), num_res_blocks=1, resolution=32, latent_channels=2, mel_bins=16,
    ).eval()  # fmt: skip


def vocoder() -> Any:
    from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder

    return LTX2Vocoder(
        in_channels=32, hidden_channels=8, upsample_kernel_sizes=[4, 4], upsample_factors=[2, 2],
        resnet_kernel_sizes=[3], resnet_dilations=[[1, 3]], output_sampling_rate=400,
    ).eval()  # fmt: skip


def transformer(**config: Any) -> Any:
    from diffusers import LTX2VideoTransformer3DModel

    return LTX2VideoTransformer3DModel(
        in_channels=CHANNELS, out_channels=CHANNELS, num_attention_heads=2, attention_head_dim=8,
        cross_attention_dim=16, audio_in_channels=8, audio_out_channels=8, audio_num_attention_heads=2,
        audio_attention_head_dim=4, audio_cross_attention_dim=8, num_layers=1, caption_channels=16,
        **config,
    ).eval()  # fmt: skip


def connectors() -> Any:
    from diffusers.pipelines.ltx2 import LTX2TextConnectors

    heads: dict[str, Any] = {}
    for modality in ("video", "audio"):
        heads |= {
            f"{modality}_connector_num_attention_heads": 2, f"{modality}_connector_attention_head_dim": 8,
            f"{modality}_connector_num_layers": 1, f"{modality}_connector_num_learnable_registers": None,
        }  # fmt: skip
    return LTX2TextConnectors(caption_channels=16, text_proj_in_factor=LAYERS + 1, **heads).eval()


def build(name: str, *, shifts: bool = True, **config: Any) -> Any:
    """shifts: whether noise levels depend on the size; config: of the transformer."""
    import diffusers

    parts.seed()
    shift: dict[str, Any] = {
        "use_dynamic_shifting": True, "base_shift": 0.95, "max_shift": 2.05, "base_image_seq_len": 1024,
        "max_image_seq_len": 4096, "shift_terminal": 0.1,
    }  # fmt: skip
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**shift if shifts else {})
    pipeline = getattr(diffusers, name)(
        scheduler=scheduler, vae=vae(), audio_vae=audio_vae(), text_encoder=text_encoder(),
        tokenizer=parts.word_tokenizer(), connectors=connectors(), transformer=transformer(**config), vocoder=vocoder(),
    )  # fmt: skip
    return parts.quiet(pipeline)


def build_slots() -> Any:
    """LTX-2.5: the transformer marks key frames."""
    return build("LTX2DFRPipeline", shifts=False, use_keyframes_abs_pos_embedding=True)


def upsampler() -> Any:
    from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel

    return LTX2LatentUpsamplerModel(in_channels=CHANNELS, mid_channels=32, num_blocks_per_stage=1).eval()


def build_upsampler() -> Any:
    from diffusers import LTX2LatentUpsamplePipeline

    parts.seed()
    return parts.quiet(LTX2LatentUpsamplePipeline(vae=vae(), latent_upsampler=upsampler()))


def text(call: TinyCall) -> dict[str, Any]:
    """Classifier-free guidance alone: neither the perturbed nor the single-modality passes."""
    scale = 3.0 if call.guided else 1.0
    return {
        "prompt": call.prompt, "negative_prompt": call.negative_prompt, "height": call.height, "width": call.width,
        "num_frames": call.frames, "frame_rate": 24.0, "num_inference_steps": call.steps, "max_sequence_length": 16,
        "guidance_scale": scale, "audio_guidance_scale": scale, "stg_scale": 0.0, "audio_stg_scale": 0.0,
        "modality_scale": 1.0, "audio_modality_scale": 1.0, "spatio_temporal_guidance_blocks": None,
    }  # fmt: skip


GUIDANCE: dict[str, Any] = {
    "stg_scale": 1.0, "audio_stg_scale": 1.0, "modality_scale": 3.0, "audio_modality_scale": 3.0,
    "spatio_temporal_guidance_blocks": [0],
}  # fmt: skip


def call_all_guidance(call: TinyCall) -> dict[str, Any]:
    """With the perturbed and the single-modality passes where guided."""
    return text(call) | (GUIDANCE if call.guided else {})


def first_frame(call: TinyCall) -> dict[str, Any]:
    return {"image": parts.image(call.width, call.height)}


def call_image(call: TinyCall) -> dict[str, Any]:
    return text(call) | first_frame(call)


def keyframes(call: TinyCall) -> dict[str, Any]:
    return {"images": {index: parts.image(call.width, call.height, 20 * index) for index in (0, 8)}}


def call_keyframes(call: TinyCall) -> dict[str, Any]:
    """Conditions are indexed in latent frames: frame 8 is latent frame 1."""
    from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition

    images = keyframes(call)["images"]
    conditions = [LTX2VideoCondition(frames=image, index=index // 8) for index, image in images.items()]
    return text(call) | {"conditions": conditions}


def reference(call: TinyCall) -> dict[str, Any]:
    """A clip that an in-context LoRA would follow."""
    return {"control": {"reference": parts.clip(call.frames, call.width, call.height)}}


def call_reference(call: TinyCall) -> dict[str, Any]:
    from diffusers.pipelines.ltx2.pipeline_ltx2_ic_lora import LTX2ReferenceCondition

    return text(call) | {
        "reference_conditions": [LTX2ReferenceCondition(frames=reference(call)["control"]["reference"])]
    }


def call_hdr(call: TinyCall) -> dict[str, Any]:
    from diffusers.pipelines.ltx2.pipeline_ltx2_hdr_lora import LTX2HDRReferenceCondition

    arguments = {key: value for key, value in text(call).items() if not key.startswith("audio_")}
    clip = reference(call)["control"]["reference"]
    return arguments | {"reference_conditions": [LTX2HDRReferenceCondition(frames=clip)]}


#: noise levels of a pass in three and in four steps
LEVELS = [1.0, 0.9, 0.7, 0.4]


def call_slots(call: TinyCall) -> dict[str, Any]:
    """A distilled pass, without guidance; its steps are its noise levels."""
    return {
        "prompt": call.prompt, "height": call.height, "width": call.width, "num_frames": call.frames,
        "frame_rate": 24.0, "sigmas": LEVELS[: call.steps], "max_sequence_length": 16,
    }  # fmt: skip


def call_slots_keyframes(call: TinyCall) -> dict[str, Any]:
    return call_slots(call) | {"conditions": call_keyframes(call)["conditions"]}


def half_size(call: TinyCall) -> dict[str, Any]:
    """The clip to upsample."""
    return {"video": parts.clip(call.frames, call.width // 2, call.height // 2)}


def call_upsampler(call: TinyCall) -> dict[str, Any]:
    """height, width: of the source."""
    size = {"height": call.height // 2, "width": call.width // 2, "num_frames": call.frames}
    return half_size(call) | size


ROWS = (
    Tiny(
        "LTX2Pipeline",
        build=lambda: build("LTX2Pipeline"), call=text,
        sizes=SIZES, options=OPTIONS, core=True,
    ),
    Tiny(
        "LTX2Pipeline:all-guidance",
        build=lambda: build("LTX2Pipeline"), call=call_all_guidance,
        sizes=SIZES, options=OPTIONS,
    ),
    Tiny(
        "LTX2ImageToVideoPipeline",
        build=lambda: build("LTX2ImageToVideoPipeline"), call=call_image, given=first_frame,
        sizes=SIZES, options=OPTIONS, batch=False,
    ),
    Tiny(
        "LTX2ConditionPipeline",
        build=lambda: build("LTX2ConditionPipeline"), call=call_keyframes, given=keyframes,
        sizes=SIZES, options=OPTIONS, batch=False,
    ),
    Tiny(
        "LTX2InContextPipeline",
        build=lambda: build("LTX2InContextPipeline"), call=call_reference, given=reference,
        sizes=SIZES, options=OPTIONS, batch=False,
    ),
    Tiny(
        "LTX2HDRPipeline",
        build=lambda: build("LTX2HDRPipeline"), call=call_hdr, given=reference,
        sizes=SIZES, options=OPTIONS, batch=False,
    ),
    Tiny(
        "LTX2DFRPipeline",
        build=build_slots, call=call_slots,
        sizes=SIZES, options={"sigmas": LEVELS[:3]}, guides=False,
    ),
    Tiny(
        "LTX2DFRPipeline:keyframes",
        build=build_slots, call=call_slots_keyframes,
        given=keyframes, sizes=SIZES, options={"sigmas": LEVELS[:3]}, guides=False, batch=False,
    ),
    Tiny(
        "LTX2LatentUpsamplePipeline",
        build=build_upsampler, call=call_upsampler, given=half_size,
        sizes=((9, 128, 128), (17, 192, 128)), batch=False, guides=False,
    ),
)  # fmt: skip

UNAVAILABLE: dict[str, str] = {
    "LTX2DFRTemporalRefinePipeline": "it refines latents, key frames and audio of LTX2DFRPipeline: no clip of its own",
    "LTX2VideoDiffusionDecodePipeline": "not yet built: its decoder attends in neighbourhoods (natten or flex)",
}
