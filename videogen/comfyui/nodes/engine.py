"""Load Videogen Model and Render: a clip by videogen's own engine."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from videogen.backbones.load_options import DTYPES, OFFLOADS
from videogen.backbones.precision.table import PRECISIONS
from videogen.core.errors import VideogenError
from videogen.motion import Motion
from videogen.request.request import RenderRequest

from ..engine.conditions import with_first_frame
from ..engine.graph import LOADER, check_node, is_refused_by_comfyui, own_values
from ..engine.media import to_comfy_audio, to_comfy_video
from ..engine.models import DEFAULT, fingerprint_model, list_models, load_engine, read_chosen_model
from ..engine.renders import render_clip
from ..engine.reports import describe_render, to_json
from ..engine.requests import build_request
from ..images import to_images
from .engine_inputs import (
    CONDITIONS,
    ENGINE,
    ENGINE_CATEGORY,
    clip_outputs,
    engine_input,
    length_input,
    motion_inputs,
    negative_prompt_input,
    previews_input,
    prompt_input,
    rare_inputs,
    sampling_inputs,
    size_inputs,
    speed_inputs,
)


class LoadModel(io.ComfyNode):
    """A model in videogen's engine."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id=LOADER,
            display_name="Load Videogen Model (videogen)",
            category=ENGINE_CATEGORY,
            description="Loads a video model into videogen's engine: one that is embedded in the package, a folder in "
            "diffusers' layout (also in models/diffusers), a .safetensors or .gguf file, or a model of the hub.",
            search_aliases=["videogen", "load pipeline", "diffusers loader", "engine"],
            inputs=[
                io.Combo.Input(
                    "model", options=list_models(), default="embedded",
                    tooltip="The models on this machine. embedded and embedded-unet are small and run on a CPU.",
                ),
                io.String.Input(
                    "path", default="", optional=True,
                    tooltip="In place of the model above: a folder, a file, or OWNER/NAME of the hub.",
                ),
                io.Combo.Input(
                    "precision", options=[DEFAULT, *PRECISIONS], default=DEFAULT, optional=True,
                    tooltip="How the denoiser's weights are stored: 8 or 4 bits need less memory. default: as it "
                    "computes.",
                ),
                io.String.Input(
                    "memory", default="", optional=True,
                    tooltip="Device memory that renders may take, such as 12GB: each is planned for it. Empty: as much "
                    "as there is.",
                ),
                io.Combo.Input(
                    "dtype", options=[DEFAULT, *DTYPES], default=DEFAULT, optional=True, advanced=True,
                    tooltip="In which numbers it computes. default: float32 on a CPU, bfloat16 elsewhere.",
                ),
                io.String.Input(
                    "device", default="", optional=True, advanced=True,
                    tooltip="Where it computes, such as cuda:1 or cpu. Empty: the best that is present.",
                ),
                io.Combo.Input(
                    "offload", options=[DEFAULT, *OFFLOADS], default=DEFAULT, optional=True, advanced=True,
                    tooltip="model: only the component that works is on the device; sequential: only the layer. "
                    "default: all of it, or what the memory above allows.",
                ),
                io.Boolean.Input(
                    "compile", default=False, optional=True, advanced=True,
                    tooltip="Compile the denoiser's blocks: the first step is slower, the others are faster.",
                ),
                io.Boolean.Input(
                    "download", default=False, optional=True, advanced=True,
                    tooltip="Whether a model of the hub may be downloaded. Without it, it must be in the hub's cache.",
                ),
                io.String.Input(
                    "base", default="", optional=True, advanced=True,
                    tooltip="For a single file: the folder or hub model that has the other components.",
                ),
                io.String.Input(
                    "revision", default="", optional=True, advanced=True,
                    tooltip="Branch, tag or commit of a hub model.",
                ),
            ],
            outputs=[ENGINE.Output(display_name="engine", tooltip="For the nodes of videogen/engine.")],
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, model: str | None = None) -> Any:
        values = own_values(cls)
        if "model" not in values or is_refused_by_comfyui(cls, "model"):
            return True
        try:
            read_chosen_model(values)
        except (VideogenError, ValueError) as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, **values: Any) -> str:
        return fingerprint_model(values)

    @classmethod
    def execute(cls, model: str, **values: Any) -> Any:
        return io.NodeOutput(load_engine({"model": model, **values}))


class Render(io.ComfyNode):
    """One clip of a prompt."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenRender",
            display_name="Render (videogen)",
            category=ENGINE_CATEGORY,
            description="Renders a clip from a prompt, and from images or videos where the model takes them. The "
            "frames are those of `videogen render` with the same settings. A clip longer than the model makes at once "
            "is joined from several; for minutes of video use Storyboard.",
            search_aliases=["videogen", "text to video", "image to video", "generate video", "ksampler"],
            inputs=[
                engine_input(),
                prompt_input("What the clip shows."),
                negative_prompt_input(),
                *size_inputs(),
                length_input(0, "Frames of the clip. 0: the model's own."),
                *sampling_inputs(),
                *speed_inputs(),
                io.Image.Input(
                    "first_frame", optional=True,
                    tooltip="The first frame, for models that take one; with a motion also for others.",
                ),
                CONDITIONS.Input(
                    "conditions", optional=True, tooltip="From Render Conditions: what else the clip is made from."
                ),
                *motion_inputs(),
                *rare_inputs(),
                io.String.Input(
                    "continuity", default="", optional=True, advanced=True,
                    tooltip="How clips of a longer video are joined: auto, off (one clip of any length), replay, "
                    "clean_prefix, ... Empty: auto.",
                ),
                previews_input(),
            ],
            outputs=clip_outputs(),
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, engine: Any = None) -> Any:
        return check_node(cls, build_request, linked={"first_frame": "image", "conditions": ""})

    @classmethod
    def execute(
        cls, engine: Any, prompt: str, first_frame: torch.Tensor | None = None,
        conditions: dict[str, Any] | None = None, motion: Motion | None = None, previews: bool = True, **values: Any,
    ) -> Any:  # fmt: skip
        given = with_first_frame(dict(conditions or {}), first_frame, engine.backbone, motion)
        request = build_request({"prompt": prompt, **values}, motion=motion, **given)
        return clip_result(engine, request, previews=previews)


def clip_result(engine: Any, request: RenderRequest, *, previews: bool) -> Any:
    """The node output of one rendered clip, in the order of `clip_outputs`."""
    found = render_clip(engine, request, previews=previews)
    images = to_images(found.video.frames)
    manifest = found.video.manifest or {}
    return io.NodeOutput(
        to_comfy_video(found.video, images), images, to_comfy_audio(found.video.audio), found.latent,
        describe_render(manifest, found.notes), to_json(manifest),
    )  # fmt: skip
