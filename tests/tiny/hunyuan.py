"""HunyuanVideo, its image-to-video pipelines of Tencent and SkyReels, and FramePack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.tiny import parts
from tests.tiny.table import Tiny, TinyCall

Words = dict[str, Any]

START, END, EOT, IMAGE = "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<image>"
#: Templates of few tokens in place of those of the checkpoints: their first `crop_start` tokens are dropped.
TEMPLATE = {"template": "blue square {}", "crop_start": 2}
#: The image's token, the fourth, becomes four: the patches of the tiny image encoder.
IMAGE_TEMPLATE = {
    "template": f"{START} a {END} {IMAGE} red {START} a {END} {{}} {EOT} {START} left {END}",
    "crop_start": 8,
    "image_emb_start": 3,
    "image_emb_end": 7,
    "image_emb_len": 4,
}
LENGTH = 24
SIZES = ((5, 32, 32), (9, 48, 32))
#: Of those that take the pipelines' own sigmas and draw nothing.
SOLVERS = ("FlowMapEulerDiscreteScheduler", "EulerDiscreteScheduler")


def denoiser(name: str = "HunyuanVideoTransformer3DModel", **config: Any) -> Any:
    """Two-stream and one-stream blocks of width 16, and a text refiner."""
    import diffusers

    common = {
        "in_channels": 4, "out_channels": 4, "num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 1,
        "num_single_layers": 1, "num_refiner_layers": 1, "mlp_ratio": 2.0, "text_embed_dim": 16,
        "pooled_projection_dim": 16, "rope_axes_dim": (4, 2, 2),
    }  # fmt: skip
    return getattr(diffusers, name)(**{**common, **config}).eval()


def llama() -> Any:
    from transformers import LlamaConfig, LlamaModel

    return LlamaModel(llama_config(LlamaConfig)).eval()


def llama_config(kind: Any) -> Any:
    return kind(
        vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=3, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=128, pad_token_id=0,
    )  # fmt: skip


def llava(image_token: int) -> Any:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=16
    )
    config = LlavaConfig(
        vision_config=vision, text_config=llama_config(LlamaConfig), image_token_index=image_token,
        vision_feature_layer=-2, pad_token_id=0,
    )  # fmt: skip
    return LlavaForConditionalGeneration(config).eval()


def shared(**components: Any) -> Words:
    """What all of the lineage have."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return {
        "tokenizer_2": parts.word_tokenizer(77), "text_encoder_2": parts.clip_text(length=77),
        "vae": parts.hunyuan_vae(), "scheduler": FlowMatchEulerDiscreteScheduler(shift=7.0), **components,
    }  # fmt: skip


def text_parts(**config: Any) -> Words:
    model = denoiser(**config)
    return shared(tokenizer=parts.word_tokenizer(LENGTH), text_encoder=llama(), transformer=model)


def image_text_parts(**config: Any) -> Words:
    """With an encoder that reads the image together with the prompt."""
    tokenizer = parts.word_tokenizer(LENGTH)
    tokenizer.add_tokens([START, END, EOT, IMAGE], special_tokens=True)
    return shared(
        tokenizer=tokenizer, text_encoder=llava(tokenizer.convert_tokens_to_ids(IMAGE)),
        image_processor=parts.clip_image_processor(), transformer=denoiser(**config),
    )  # fmt: skip


def concatenated() -> Words:
    return image_text_parts(in_channels=9, image_condition_type="latent_concat", guidance_embeds=False)


def replaced() -> Words:
    return image_text_parts(image_condition_type="token_replace", guidance_embeds=True)


def skyreels() -> Words:
    return text_parts(in_channels=8)


def framepack() -> Words:
    model = denoiser(
        "HunyuanVideoFramepackTransformer3DModel", has_image_proj=True, image_proj_dim=16, has_clean_x_embedder=True
    )
    return shared(
        tokenizer=parts.word_tokenizer(LENGTH), text_encoder=llama(), transformer=model,
        image_encoder=parts.siglip_vision(), feature_extractor=parts.siglip_image_processor(),
    )  # fmt: skip


def builder(name: str, components: Callable[[], Words]) -> Callable[[], Any]:
    def build() -> Any:
        import diffusers

        parts.seed()
        return parts.quiet(getattr(diffusers, name)(**components()))

    return build


def words(call: TinyCall) -> Words:
    """Guidance on both: the scale that the model reads, and that of the negative prompt."""
    return {
        "prompt": call.prompt, "negative_prompt": call.negative_prompt, "height": call.height, "width": call.width,
        "num_frames": call.frames, "num_inference_steps": call.steps, "true_cfg_scale": 6.0 if call.guided else 1.0,
    }  # fmt: skip


def nothing(call: TinyCall) -> Words:
    return {}


def first(call: TinyCall) -> Words:
    return {"image": parts.image(call.width, call.height, 40)}


def first_and_last(call: TinyCall) -> Words:
    return {**first(call), "last_image": parts.image(call.width, call.height, 200)}


def row(
    name: str, components: Callable[[], Words], given: Callable[[TinyCall], Words] = nothing,
    sizes: tuple[tuple[int, int, int], ...] = SIZES, core: bool = False, batch: bool = True, **options: Any,
) -> Tiny:  # fmt: skip
    options = {"prompt_template": TEMPLATE, "max_sequence_length": 16, **options}

    def call(tiny: TinyCall) -> Words:
        return {**words(tiny), **options, **given(tiny)}

    build = builder(name.partition(":")[0], components)
    return Tiny(name, build, call, sizes, given, options, SOLVERS, batch=batch, core=core)


def concatenated_row(name: str) -> Tiny:
    """The first latent frame is decoded and then cut: 4 frames less than requested."""
    base = row(name, concatenated, first, batch=False, prompt_template=IMAGE_TEMPLATE)

    def call(tiny: TinyCall) -> Words:
        return {**base.call(tiny), "num_frames": tiny.frames + 4}

    return replace(base, call=call)


def framepack_row(name: str, given: Callable[[TinyCall], Words] = first, **options: Any) -> Tiny:
    """Sections of two latent frames: 8 frames each and the first one. Each is requested as 5 frames. The
    loop gives the solver `mu`, which of the solvers that take sigmas only flow-matching Euler knows."""
    base = row(name, framepack, given, ((9, 32, 32), (17, 48, 32)), batch=False, latent_window_size=2, **options)

    def call(tiny: TinyCall) -> Words:
        return {**base.call(tiny), "num_frames": (tiny.frames - 1) // 8 * 5}

    return replace(base, call=call, solvers=())


I2V, FRAMEPACK = "HunyuanVideoImageToVideoPipeline", "HunyuanVideoFramepackPipeline"

ROWS: tuple[Tiny, ...] = (
    row("HunyuanVideoPipeline", text_parts, guidance_scale=5.0, core=True),
    concatenated_row(f"{I2V}:latent-concat"),
    row(f"{I2V}:token-replace", replaced, first, batch=False, prompt_template=IMAGE_TEMPLATE),
    row("HunyuanSkyreelsImageToVideoPipeline", skyreels, first, batch=False),
    framepack_row(FRAMEPACK),
    framepack_row(f"{FRAMEPACK}:last-image", first_and_last),
    framepack_row(f"{FRAMEPACK}:vanilla", sampling_type="vanilla"),
)

#: Classes without a row, and why.
UNAVAILABLE: dict[str, str] = {}
