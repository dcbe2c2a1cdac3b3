"""HunyuanVideo 1.5: text and image to video, guidance by a component of the pipeline.

One video per call: the attention mask of the VAE has no axis for heads, so that it decodes one video at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.tiny import parts
from tests.tiny.table import Tiny, TinyCall

Words = dict[str, Any]

#: The pipelines drop the first 108 tokens, those of their instruction.
CHAT_TEMPLATE = "{{ 'red ' * 108 }}{{ messages[1]['content'] }}"
SOLVERS = ("FlowMapEulerDiscreteScheduler", "EulerDiscreteScheduler")


def vae() -> Any:
    """16 px and 4 frames per latent."""
    from diffusers import AutoencoderKLHunyuanVideo15

    return AutoencoderKLHunyuanVideo15(latent_channels=4, block_out_channels=(8,) * 5, layers_per_block=1).eval()


def denoiser(**config: Any) -> Any:
    """Latents, condition and mask on the channels."""
    from diffusers import HunyuanVideo15Transformer3DModel

    return HunyuanVideo15Transformer3DModel(
        in_channels=9, out_channels=4, num_attention_heads=2, attention_head_dim=8, num_layers=2, num_refiner_layers=1,
        mlp_ratio=2.0, text_embed_dim=16, text_embed_2_dim=16, image_embed_dim=16, rope_axes_dim=(4, 2, 2),
        target_size=64, **config,
    ).eval()  # fmt: skip


def text_parts(task: str = "t2v", **config: Any) -> Words:
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.guiders import ClassifierFreeGuidance

    tokenizer = parts.word_tokenizer(132)
    tokenizer.chat_template = CHAT_TEMPLATE
    return {
        "tokenizer": tokenizer, "text_encoder": parts.qwen_text(), "tokenizer_2": parts.word_tokenizer(32),
        "text_encoder_2": parts.t5(), "vae": vae(), "transformer": denoiser(task_type=task, **config),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=5.0), "guider": ClassifierFreeGuidance(guidance_scale=6.0),
    }  # fmt: skip


def image_parts(**config: Any) -> Words:
    return {
        **text_parts("i2v", **config), "image_encoder": parts.siglip_vision(),
        "feature_extractor": parts.siglip_image_processor(),
    }  # fmt: skip


def mean_flow_parts() -> Words:
    """A model that is also given the next timestep."""
    return image_parts(use_meanflow=True)


def set_guidance(pipeline: Any, call: TinyCall) -> None:
    from diffusers.guiders import ClassifierFreeGuidance

    pipeline.guider = ClassifierFreeGuidance(guidance_scale=6.0 if call.guided else 1.0)


def builder(name: str, components: Callable[[], Words]) -> Callable[[], Any]:
    def build() -> Any:
        import diffusers

        parts.seed()
        pipeline = getattr(diffusers, name)(**components())
        pipeline.tokenizer_max_length, pipeline.tokenizer_2_max_length = 24, 32  # 1000 and 256 cost seconds
        return parts.quiet(pipeline)

    return build


def first(call: TinyCall) -> Words:
    return {"image": parts.image(call.width, call.height, 40)}


def words(call: TinyCall) -> Words:
    return {
        "prompt": call.prompt, "negative_prompt": call.negative_prompt, "num_frames": call.frames,
        "num_inference_steps": call.steps,
    }  # fmt: skip


def text_call(call: TinyCall) -> Words:
    return {**words(call), "height": call.height, "width": call.width}


def image_call(call: TinyCall) -> Words:
    """The image's shape selects the size of the video: the nearest of those with the area of `target_size` squared."""
    return {**words(call), **first(call)}


def image_row(name: str, components: Callable[[], Words]) -> Tiny:
    build = builder(name.partition(":")[0], components)
    return Tiny(
        name, build, image_call, ((5, 64, 64), (9, 48, 64)), first, solvers=SOLVERS, batch=False, prepare=set_guidance
    )


T2V, I2V = "HunyuanVideo15Pipeline", "HunyuanVideo15ImageToVideoPipeline"

ROWS: tuple[Tiny, ...] = (
    Tiny(
        T2V, builder(T2V, text_parts), text_call, ((5, 64, 64), (9, 96, 64)), solvers=SOLVERS, batch=False,
        core=True, prepare=set_guidance,
    ),
    image_row(I2V, image_parts),
    image_row(f"{I2V}:mean-flow", mean_flow_parts),
)  # fmt: skip

#: Classes without a row, and why.
UNAVAILABLE: dict[str, str] = {}
