"""EasyAnimate: text to video, inpainting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.tiny import parts
from tests.tiny.table import Tiny, TinyCall

SIZES = ((5, 32, 32), (9, 48, 32))
SOLVERS = ("DDIMScheduler", "DPMSolverMultistepScheduler")


def builder(name: str, channels: int) -> Callable[[], Any]:
    """A function that builds the class of this name; channels: of the denoiser's input."""

    def build() -> Any:
        import diffusers
        from diffusers import AutoencoderKLMagvit, EasyAnimateTransformer3DModel, FlowMatchEulerDiscreteScheduler

        parts.seed()
        transformer = EasyAnimateTransformer3DModel(
            num_attention_heads=2, attention_head_dim=16, in_channels=channels, out_channels=4, patch_size=2,
            sample_width=4, sample_height=4, num_layers=2, mmdit_layers=1, time_embed_dim=8, text_embed_dim=16,
            add_norm_text_encoder=True,
        ).eval()  # fmt: skip
        vae = AutoencoderKLMagvit(
            latent_channels=4, block_out_channels=[8] * 4, layers_per_block=1, norm_num_groups=4
        ).eval()  # fmt: skip
        # A key of the checkpoints that the class does not name, yet the pipeline for inpainting reads.
        vae.register_to_config(cache_mag_vae=True)
        tokenizer = parts.word_tokenizer(256)
        tokenizer.chat_template = "{% for m in messages %}{{ m['content'][0]['text'] }}{% endfor %}"
        scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
        return parts.quiet(getattr(diffusers, name)(vae, parts.qwen2_vl(), tokenizer, transformer, scheduler))

    return build


def text_call(call: TinyCall) -> dict[str, Any]:
    return {
        "prompt": call.prompt, "negative_prompt": call.negative_prompt, "num_frames": call.frames,
        "height": call.height, "width": call.width, "num_inference_steps": call.steps,
        "guidance_scale": 5.0 if call.guided else 1.0,
    }  # fmt: skip


def inpainting(call: TinyCall) -> dict[str, Any]:
    size = call.frames, call.width, call.height
    return {"video": parts.clip(*size), "mask": parts.mask(*size)}


def inpainting_call(call: TinyCall) -> dict[str, Any]:
    """The video goes from 0 to 1, the mask [1, 1, frames, height, width] from 0 to 255: all 255 means text alone."""
    conditions = inpainting(call)
    return text_call(call) | {
        "video": parts.pixels(conditions["video"]), "mask_video": 255 * parts.pixels(conditions["mask"]),
    }  # fmt: skip


ROWS = (
    Tiny("EasyAnimatePipeline", builder("EasyAnimatePipeline", 4), text_call, sizes=SIZES, solvers=SOLVERS, core=True),
    Tiny(
        "EasyAnimateInpaintPipeline", builder("EasyAnimateInpaintPipeline", 9), inpainting_call, sizes=SIZES,
        given=inpainting, solvers=SOLVERS, batch=False,
    ),
)  # fmt: skip

UNAVAILABLE = {
    "EasyAnimateControlPipeline": "does not run in diffusers 0.42.1: its __call__ gives encode_prompt an argument that "
    "it does not take (text_encoder_index), also where embeddings are given"
}
