"""LTX-2 and LTX-2.5 as blocks: video with sound from a text, an image, conditions at frames or a reference clip.

Video and audio have a guider each. LTX-2.5 decodes by a diffusion model that attends in neighbourhoods, here by flex
attention, which runs on a CPU without being compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.tiny import ltx2, parts
from tests.tiny.modular_rows import Words, row
from tests.tiny.table import Tiny, TinyCall

LTX2, LTX25 = "LTX2ModularPipeline", "LTX25ModularPipeline"
OPTIONS: Words = {"max_sequence_length": 16, "frame_rate": 24.0}
#: scales of the passes besides the two of classifier-free guidance
PASSES: Words = {"stg_scale": 1.0, "modality_scale": 3.0, "guidance_rescale": 0.7}
AUDIO_SCALE = 4.0


def components(**passes: Any) -> Words:
    """passes: scales of further guidance, of video and audio."""
    from diffusers import FlowMatchEulerDiscreteScheduler, LTX2Guidance

    scheduler = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, base_image_seq_len=1024, max_image_seq_len=4096,
        shift_terminal=0.1,
    )  # fmt: skip
    blocks = {"spatio_temporal_guidance_blocks": [0]} if passes else {}
    return {
        "scheduler": scheduler, "vae": ltx2.vae(), "audio_vae": ltx2.audio_vae(), "text_encoder": ltx2.text_encoder(),
        "tokenizer": parts.word_tokenizer(), "connectors": ltx2.connectors(), "transformer": ltx2.transformer(),
        "vocoder": ltx2.vocoder(), "guider": LTX2Guidance(**passes, **blocks),
        "audio_guider": LTX2Guidance(guidance_scale=AUDIO_SCALE, **passes),
    }  # fmt: skip


def all_passes() -> Words:
    return components(**PASSES)


def diffusion_decoder() -> Any:
    from diffusers import LTX2VideoDiffusionDecoderModel

    return LTX2VideoDiffusionDecoderModel(
        latent_channels=ltx2.CHANNELS, decoder_head_dim=8, decoder_stage_channels=(16,) * 5,
        decoder_stage_depths=(1,) * 5, decoder_stage_kernels=((3, 2, 2),) * 4, decoder_stage5_kernel=(3, 3, 3),
        decoder_t_emb_dim=16, decoder_upsample_channel_reductions=(1,) * 4,
    ).eval()  # fmt: skip


def later_components() -> Words:
    return components() | {"diffusion_decoder": diffusion_decoder()}


def with_conditions(make: Callable[[TinyCall], Words], names: tuple[str, ...]) -> Callable[[TinyCall], Words]:
    """The library's own arguments of conditions, from a call of the standard pipeline."""
    return lambda call: {name: make(call)[name] for name in names}


def sound_row(name: str, parts_of: Callable[[], Words] = components, **more: Any) -> Tiny:
    return row(name, parts_of, options=OPTIONS, sizes=ltx2.SIZES, **more)


ROWS = (
    sound_row(LTX2),
    sound_row(f"{LTX2}:all-guidance", all_passes),
    sound_row(f"{LTX2}:image", given=ltx2.first_frame, batch=False),
    sound_row(
        f"{LTX2}:keyframes", given=ltx2.keyframes, batch=False,
        arguments=with_conditions(ltx2.call_keyframes, ("conditions",)),
    ),
    sound_row(
        f"{LTX2}:reference", given=ltx2.reference, batch=False,
        arguments=with_conditions(ltx2.call_reference, ("reference_conditions",)),
    ),
    sound_row(LTX25, later_components),
    sound_row(f"{LTX25}:image", later_components, given=ltx2.first_frame, batch=False),
)  # fmt: skip
