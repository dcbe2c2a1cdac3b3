"""Kandinsky 6: text and image to video with sound, and super-resolution in tiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from tests.tiny import parts
from tests.tiny.table import Tiny, TinyCall

Words = dict[str, Any]

SIZES = ((5, 32, 32), (9, 48, 32))
SOLVERS = ("FlowMatchHeunDiscreteScheduler", "UniPCMultistepScheduler")
OPTIONS: Words = {"max_sequence_length": 32, "frame_rate": 8.0}
#: Sides of the tiles of the super-resolution model: 8 tokens, which its attention takes as one block.
TILE, SCALE = 128, 2


#: Predictions per channel that a distilled model gives to its solver.
GRID = 3


def denoiser(predictions: int = 1) -> Any:
    """Video and audio tokens of width 16; the last latent frame may be that of an image."""
    from diffusers import Kandinsky6Transformer3DModel

    model = Kandinsky6Transformer3DModel(
        in_visual_dim=4, out_visual_dim=4 * predictions, in_text_dim=16, in_text_dim2=16, time_dim=16, model_dim=16,
        ff_dim=16, num_text_blocks=1, num_visual_blocks=2, axes_dims=(4, 2, 2), in_audio_dim=4,
        out_audio_dim=4 * predictions,
        visual_token_type_num_embeddings=2,
    )  # fmt: skip
    return parts.fill_zeros(model).eval()


def audio_vae() -> Any:
    """Mel spectrograms at 8 kHz, 512 samples per latent."""
    from diffusers import MMAudioVAE

    return MMAudioVAE(
        mel_bins=8, latent_channels=4, hidden_channels=4, layers_per_block=1, sample_rate=8000, n_fft=512,
        hop_length=256,
    ).eval()  # fmt: skip


def vocoder() -> Any:
    from diffusers import MMAudioVocoder

    return MMAudioVocoder(
        num_mels=8, upsample_initial_channel=16, upsample_rates=(16, 16), upsample_kernel_sizes=(32, 32),
        resblock_kernel_sizes=(3,), resblock_dilation_sizes=((1,),),
    ).eval()  # fmt: skip


def flow() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(shift=5.0)


def policy_flow() -> Any:
    """The solver of distilled models: substeps along their predictions."""
    from diffusers import PiflowScheduler

    return PiflowScheduler(n_grid=GRID, num_policy_substeps=6)


def build_sound(predictions: int = 1, scheduler: Callable[[], Any] = flow) -> Any:
    from diffusers import Kandinsky6TI2VAPipeline

    parts.seed()
    pipeline = Kandinsky6TI2VAPipeline(
        tokenizer=parts.word_tokenizer(256), text_encoder=parts.qwen_vl(), tokenizer_2=parts.word_tokenizer(77),
        text_encoder_2=parts.clip_text(length=77), vae=parts.hunyuan_vae(), transformer=denoiser(predictions),
        scheduler=scheduler(), audio_vae=audio_vae(), vocoder=vocoder(),
    )  # fmt: skip
    return parts.quiet(pipeline)


def latent_upscaler() -> Any:
    from diffusers import Kandinsky6SRLatentUpscalerBank

    return Kandinsky6SRLatentUpscalerBank(
        in_channels=4, stage_channels=(8, 8, 8), num_pre_blocks=1, num_mid_blocks=1, num_post_blocks=1,
        num_x2_adapter_blocks=1,
    ).eval()  # fmt: skip


def build_super_resolution(*, in_latents: bool = False) -> Any:
    """in_latents: whether the latents of a tile are upscaled by a model, rather than its pixels by interpolation."""
    from diffusers import Kandinsky6SRPipeline, Kandinsky6SRTransformer3DModel, Kandinsky6SRVAE

    parts.seed()
    model = Kandinsky6SRTransformer3DModel(
        in_visual_dim=4, out_visual_dim=4, time_dim=16, model_dim=16, ff_dim=16, num_visual_blocks=1,
        axes_dims=(8, 4, 4), tile_sizes=((TILE, TILE),),
    )  # fmt: skip
    vae = Kandinsky6SRVAE(
        latent_channels=4, encoder_block_out_channels=(4, 8, 8, 8, 8), decoder_block_out_channels=(4, 4, 4, 4, 4),
        layers_per_block=1,
    )  # fmt: skip
    upscaler = latent_upscaler() if in_latents else None
    pipeline = Kandinsky6SRPipeline(
        transformer=model.eval(), vae=vae.eval(), scheduler=flow(), latent_upscaler=upscaler
    )
    return parts.quiet(pipeline)


def first(call: TinyCall) -> Words:
    return {"image": parts.image(call.width, call.height, 40)}


def nothing(call: TinyCall) -> Words:
    return {}


def sound_row(name: str, given: Callable[[TinyCall], Words] = nothing, core: bool = False, **options: Any) -> Tiny:
    options = {**OPTIONS, **options}

    def call(tiny: TinyCall) -> Words:
        return {
            "prompt": tiny.prompt, "negative_prompt": tiny.negative_prompt, "height": tiny.height,
            "width": tiny.width, "num_frames": tiny.frames, "num_inference_steps": tiny.steps,
            "guidance_scale": 5.0 if tiny.guided else 1.0, **options, **given(tiny),
        }  # fmt: skip

    return Tiny(name, build_sound, call, SIZES, given, options, SOLVERS, batch=given is nothing, core=core)


def super_resolution_row(name: str, build: Callable[[], Any]) -> Tiny:
    """The smaller size is one tile, the larger two. No prompt, hence no guidance."""
    sizes = ((5, TILE, TILE), (9, TILE + 32, TILE))
    solvers = ("FlowMatchHeunDiscreteScheduler",)
    return Tiny(
        name, build, upscale, sizes, low_resolution, {"resolution_scale": SCALE}, solvers, batch=False, guides=False
    )


def low_resolution(call: TinyCall) -> Words:
    return {"video": parts.clip(call.frames, call.width // SCALE, call.height // SCALE)}


def upscale(call: TinyCall) -> Words:
    return {**low_resolution(call), "resolution_scale": SCALE, "num_inference_steps": call.steps}


SOUND, UPSCALE = "Kandinsky6TI2VAPipeline", "Kandinsky6SRPipeline"

ROWS: tuple[Tiny, ...] = (
    sound_row(SOUND, core=True),
    sound_row(f"{SOUND}:image", first),
    sound_row(f"{SOUND}:silent", sample_audio=False),
    replace(sound_row(f"{SOUND}:distilled"), build=partial(build_sound, GRID, policy_flow), solvers=()),
    super_resolution_row(UPSCALE, build_super_resolution),
    super_resolution_row(f"{UPSCALE}:latents", partial(build_super_resolution, in_latents=True)),
)

#: Classes without a row, and why.
UNAVAILABLE: dict[str, str] = {}
