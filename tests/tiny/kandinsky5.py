"""Kandinsky 5: text and image to video."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.tiny import parts
from tests.tiny.table import Tiny, TinyCall

Words = dict[str, Any]

SIZES = ((5, 32, 32), (9, 48, 32))
#: With an image, the first four latent frames are normalised by those after them: there must be some.
IMAGE_SIZES = ((17, 32, 32), (21, 48, 32))
SOLVERS = ("FlowMatchHeunDiscreteScheduler", "UniPCMultistepScheduler")


def denoiser(*, condition: bool) -> Any:
    """condition: whether latents have the channels of a condition and its mask."""
    from diffusers import Kandinsky5Transformer3DModel

    model = Kandinsky5Transformer3DModel(
        in_visual_dim=4, out_visual_dim=4, in_text_dim=16, in_text_dim2=16, time_dim=16, model_dim=16, ff_dim=16,
        num_text_blocks=1, num_visual_blocks=2, axes_dims=(4, 2, 2), visual_cond=condition,
    )  # fmt: skip
    return parts.fill_zeros(model).eval()


def components(*, condition: bool) -> Words:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return {
        "tokenizer": parts.word_tokenizer(256), "text_encoder": parts.qwen_vl(),
        "tokenizer_2": parts.word_tokenizer(77), "text_encoder_2": parts.clip_text(length=77),
        "vae": parts.hunyuan_vae(), "transformer": denoiser(condition=condition),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=5.0),
    }  # fmt: skip


def builder(name: str, *, condition: bool) -> Callable[[], Any]:
    def build() -> Any:
        import diffusers

        parts.seed()
        return parts.quiet(getattr(diffusers, name)(**components(condition=condition)))

    return build


def words(call: TinyCall) -> Words:
    return {
        "prompt": call.prompt, "negative_prompt": call.negative_prompt, "height": call.height, "width": call.width,
        "num_frames": call.frames, "num_inference_steps": call.steps, "guidance_scale": 5.0 if call.guided else 1.0,
        "max_sequence_length": 64,
    }  # fmt: skip


def first(call: TinyCall) -> Words:
    return {"image": parts.image(call.width, call.height, 40)}


def image_call(call: TinyCall) -> Words:
    return {**words(call), **first(call)}


OPTIONS = {"max_sequence_length": 64}
T2V, I2V = "Kandinsky5T2VPipeline", "Kandinsky5I2VPipeline"

ROWS: tuple[Tiny, ...] = (
    Tiny(T2V, builder(T2V, condition=False), words, SIZES, options=OPTIONS, solvers=SOLVERS, core=True),
    Tiny(f"{T2V}:condition", builder(T2V, condition=True), words, SIZES, options=OPTIONS, solvers=SOLVERS),
    Tiny(I2V, builder(I2V, condition=True), image_call, IMAGE_SIZES, first, OPTIONS, SOLVERS),
)

#: Classes without a row, and why.
UNAVAILABLE: dict[str, str] = {
    "Kandinsky5T2IPipeline": "makes images from text, not video",
    "Kandinsky5I2IPipeline": "makes images from an image, not video",
}
