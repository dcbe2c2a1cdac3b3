"""Inputs and outputs that several of the engine's nodes share."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from videogen.configs import presets
from videogen.schedulers.solvers import SOLVERS

from ..engine.models import DEFAULT
from ..engine.requests import UNSET_STRENGTH
from ..schema import CATEGORY
from .motion import MOTION

ENGINE_CATEGORY = f"{CATEGORY}/engine"
ENGINE = io.Custom("VIDEOGEN_ENGINE")
CONDITIONS = io.Custom("VIDEOGEN_CONDITIONS")
_MOST_SEED = 2**53 - 1  # the largest number that a browser stores exactly
_MOST_PX, _MOST_FRAMES = 8192, 1_000_000


def engine_input() -> Any:
    return ENGINE.Input("engine", tooltip="From Load Videogen Model. Several nodes may use the same one.")


def prompt_input(tooltip: str) -> Any:
    return io.String.Input("prompt", multiline=True, default="", tooltip=tooltip)


def negative_prompt_input() -> Any:
    return io.String.Input(
        "negative_prompt", multiline=True, default="", optional=True,
        tooltip="What the clip should not show. Empty: the model's own. It has an effect where guidance is above 1.",
    )  # fmt: skip


def length_input(default: int, tooltip: str, *, least: int = 0) -> Any:
    return io.Int.Input("length", default=default, min=least, max=_MOST_FRAMES, tooltip=tooltip)


def size_inputs() -> list[Any]:
    tooltip = "Of the clip, in pixels. 0: the model's own, or the shape of the image or video that it is made from."
    return [
        io.Int.Input(name, default=0, min=0, max=_MOST_PX, step=8, optional=True, tooltip=tooltip)
        for name in ("width", "height")
    ]


def sampling_inputs() -> list[Any]:
    """Steps, guidance and seed."""
    return [
        io.Int.Input(
            "steps", default=0, min=0, max=1000, optional=True,
            tooltip="Denoising steps: more are slower and finer. 0: the preset's, or the model's own.",
        ),
        io.Float.Input(
            "guidance", default=0.0, min=0.0, max=100.0, step=0.1, optional=True,
            tooltip="How closely the clip follows the prompt (CFG). 1: without guidance, which halves the time. 0: the "
            "model's own.",
        ),
        io.Int.Input(
            "seed", default=0, min=0, max=_MOST_SEED, control_after_generate=True,
            tooltip="The same seed and settings give the same frames, here and in `videogen render`.",
        ),
    ]  # fmt: skip


def speed_inputs() -> list[Any]:
    """Preset, recall and propagation."""
    return [
        io.Combo.Input(
            "preset", options=[DEFAULT, *presets()], default=DEFAULT, optional=True,
            tooltip="A set of speed settings, from draft and fast to quality; what is set at this node precedes it.",
        ),
        io.Float.Input(
            "recall", default=0.0, min=0.0, max=1.0, step=0.01, optional=True,
            tooltip="Sparse attention: the attention mass that every head retains, such as 0.95; lower is faster. 1 "
            "computes all of it. 0: the preset's, or all of it.",
        ),
        io.String.Input(
            "propagation", default="", optional=True,
            tooltip="Fewer calls of the model: every:2 halves the time, max_error:0.02 bounds the error where the "
            "model is calibrated, off. Empty: the preset's, or off.",
        ),
    ]  # fmt: skip


def motion_inputs() -> list[Any]:
    return [
        MOTION.Input("motion", optional=True, tooltip="From a motion node: how the camera or objects move."),
        io.Combo.Input(
            "motion_backend", options=[DEFAULT, "warped_noise", "dual_clock"], default=DEFAULT, optional=True,
            advanced=True,
            tooltip="How the clip is made to follow the motion. dual_clock: any model, from a first frame. "
            "warped_noise: models trained with it. default: what suits the model and the motion.",
        ),
        io.Float.Input(
            "motion_strength", default=UNSET_STRENGTH, min=-1.0, max=1.0, step=0.05, optional=True, advanced=True,
            tooltip="0: no motion; 1: as closely as possible. -1: what is usual for the backend.",
        ),
    ]  # fmt: skip


def rare_inputs(*, rate: bool = True) -> list[Any]:
    """Solver, shift, rate, LoRAs, the pipeline's own options."""
    return [
        io.Combo.Input(
            "solver", options=[DEFAULT, *SOLVERS], default=DEFAULT, optional=True, advanced=True,
            tooltip="The sampling method. default: the checkpoint's own.",
        ),
        io.Float.Input(
            "shift", default=0.0, min=0.0, max=100.0, step=0.1, optional=True, advanced=True,
            tooltip="Of a flow model's noise levels towards noise: larger for larger clips. 0: the checkpoint's.",
        ),
        *([_rate_input()] if rate else []),
        io.String.Input(
            "loras", multiline=True, default="", optional=True, advanced=True,
            tooltip="LoRA files, from models/loras or anywhere, one per line: FILE, FILE:0.8 for its weight, high=FILE "
            "or low=FILE for one of two experts, FILE@0-0.5 for a part of the steps.",
        ),
        io.String.Input(
            "options", default="", optional=True, advanced=True,
            tooltip='Arguments of the model\'s own pipeline, as JSON: {"motion_bucket_id": 127}.',
        ),
        io.Boolean.Input(
            "vae_tiling", default=False, optional=True, advanced=True,
            tooltip="Decode in tiles: less memory, slower.",
        ),
    ]  # fmt: skip


def _rate_input() -> Any:
    return io.Float.Input(
        "fps", default=0.0, min=0.0, max=240.0, step=0.1, optional=True, advanced=True,
        tooltip="Frames per second of the video. 0: the model's own.",
    )  # fmt: skip


def previews_input() -> Any:
    return io.Boolean.Input(
        "previews", default=True, optional=True, advanced=True,
        tooltip="Show frames at the node while it renders. The first time for a VAE this takes some seconds more.",
    )  # fmt: skip


def clip_outputs(*, latent: bool = True) -> list[Any]:
    """VIDEO, IMAGE, AUDIO, report and manifest, with LATENT after AUDIO where there is one."""
    return [
        io.Video.Output(display_name="video", tooltip="The clip with its sound, for Save Video."),
        io.Image.Output(display_name="images", tooltip="The frames."),
        io.Audio.Output(display_name="audio", tooltip="The sound; nothing where there is none."),
        *(
            [io.Latent.Output(display_name="latent", tooltip="The final latents, for VAE Decode with the model's VAE; "
                              "nothing for a video of several clips.")]
            if latent else []
        ),
        io.String.Output(display_name="report", tooltip="What was rendered and measured, in a few lines."),
        io.String.Output(display_name="manifest", tooltip="All settings and measurements as JSON."),
    ]  # fmt: skip
