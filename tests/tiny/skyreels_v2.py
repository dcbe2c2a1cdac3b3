"""SkyReels-V2: text, image, and the diffusion-forcing pipelines, whose frames have their own noise levels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.tiny import parts
from tests.tiny.table import Tiny, TinyCall
from tests.tiny.wan import IMAGE_TOKENS, TEXT, Words, builder, denoiser, first, first_and_last, image_parts, words

SIZES = ((5, 32, 32), (9, 48, 32))
#: Three latent frames or more, so that frames wait for each other.
FORCING_SIZES = ((9, 32, 32), (13, 48, 32))
SOLVERS = ("FlowMatchEulerDiscreteScheduler", "DPMSolverMultistepScheduler")
#: The diffusion-forcing loops step with integer timesteps, which flow-matching Euler refuses.
FORCING_SOLVERS = ("DPMSolverMultistepScheduler",)
SHORT = {"max_sequence_length": 16}
#: Frames of the clip that a video-to-video row continues.
SOURCE_FRAMES = 5


def model(**config: Any) -> Any:
    return denoiser("SkyReelsV2Transformer3DModel", **config)


def text_parts() -> Words:
    return {"vae": parts.wan_vae(), "transformer": model()}


def fps_parts() -> Words:
    """A model that is given the frame rate; the library's code for it takes one prompt."""
    return {"vae": parts.wan_vae(), "transformer": model(inject_sample_info=True)}


def image_components(**config: Any) -> Words:
    transformer = model(in_channels=12, image_dim=16, added_kv_proj_dim=16, **config)
    return {"vae": parts.wan_vae(), "transformer": transformer, **image_parts()}


def image_components_ends() -> Words:
    return image_components(pos_embed_seq_len=2 * IMAGE_TOKENS)


def nothing(call: TinyCall) -> Words:
    return {}


def source(call: TinyCall) -> Words:
    return {"video": parts.clip(SOURCE_FRAMES, call.width, call.height)}


def row(
    name: str, components: Callable[[], Words], given: Callable[[TinyCall], Words] = nothing,
    sizes: tuple[tuple[int, int, int], ...] = SIZES, core: bool = False, batch: bool = True, **options: Any,
) -> Tiny:  # fmt: skip
    options = {**SHORT, **options}

    def call(tiny: TinyCall) -> Words:
        frames = tiny.frames - (SOURCE_FRAMES if given is source else 0)
        return {**words(tiny), "num_frames": frames, **options, **given(tiny)}

    build = builder(name.partition(":")[0], components)
    solvers = FORCING_SOLVERS if "Forcing" in name else SOLVERS
    return Tiny(name, build, call, sizes, given, options, solvers, batch=batch, core=core)


T2V, I2V = "SkyReelsV2Pipeline", "SkyReelsV2ImageToVideoPipeline"
FORCING, FORCING_I2V = "SkyReelsV2DiffusionForcingPipeline", "SkyReelsV2DiffusionForcingImageToVideoPipeline"
FORCING_V2V = "SkyReelsV2DiffusionForcingVideoToVideoPipeline"
LONG: Words = {"base_num_frames": 9, "overlap_history": 5}

ROWS: tuple[Tiny, ...] = (
    row(T2V, text_parts, core=True),
    row(I2V, image_components, first, max_sequence_length=TEXT),
    row(f"{I2V}:last-image", image_components_ends, first_and_last, max_sequence_length=TEXT),
    row(FORCING, text_parts, sizes=FORCING_SIZES),
    row(f"{FORCING}:fps", fps_parts, sizes=FORCING_SIZES, batch=False, fps=16),
    row(f"{FORCING}:asynchronous", text_parts, sizes=FORCING_SIZES, ar_step=1),
    row(f"{FORCING}:blocks", text_parts, sizes=((13, 32, 32), (13, 48, 32)), ar_step=1, causal_block_size=2),
    row(f"{FORCING}:long", text_parts, sizes=((17, 32, 32), (25, 48, 32)), **LONG),
    row(FORCING_I2V, text_parts, first, FORCING_SIZES),
    row(f"{FORCING_I2V}:last-image", text_parts, first_and_last, FORCING_SIZES),
    # The output is the source and, after it, all of the new frames.
    row(FORCING_V2V, text_parts, source, ((14, 32, 32), (18, 48, 32)), batch=False, **LONG),
)

#: Classes without a row, and why.
UNAVAILABLE: dict[str, str] = {}
