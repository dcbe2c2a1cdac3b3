"""Render Conditions, Edit and Extend: clips that are made from images and other clips."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from videogen.media.video import Video
from videogen.request.conditions import FITS
from videogen.request.request import RenderRequest

from ..engine.conditions import UNSET_STRENGTH, add_condition, read_references, single_image, video_conditions
from ..engine.extend import choose_way, extend_clip, extension_fields
from ..engine.graph import check_node
from ..engine.latents import from_latent, to_latent
from ..engine.media import read_clip, to_comfy_audio, to_comfy_video, to_sound
from ..engine.renders import RenderedClip, render_within, running
from ..engine.reports import describe_extension, to_json
from ..engine.requests import build_request
from ..images import to_images
from .engine import clip_result
from .engine_inputs import (
    CONDITIONS,
    ENGINE_CATEGORY,
    clip_outputs,
    engine_input,
    length_input,
    negative_prompt_input,
    previews_input,
    prompt_input,
    rare_inputs,
    sampling_inputs,
    size_inputs,
    speed_inputs,
)


class RenderConditions(io.ComfyNode):
    """What a clip is made from besides its prompt."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenRenderConditions",
            display_name="Render Conditions (videogen)",
            category=ENGINE_CATEGORY,
            description="Collects what a clip is made from, for Render and Edit: last frame, images at other frames, "
            "references, a control video, sound. Connect several of them in a row. What a model takes is shown by "
            "`videogen models NAME`; anything else is refused.",
            search_aliases=["videogen", "controlnet", "reference image", "last frame", "keyframes"],
            inputs=[
                CONDITIONS.Input("conditions", optional=True, tooltip="More of them, which these are added to."),
                io.Image.Input("last_frame", optional=True, tooltip="The last frame, together with a first frame."),
                io.Image.Input("image", optional=True, tooltip="An image at the frame below."),
                io.Int.Input(
                    "frame", default=0, min=-1_000_000, max=1_000_000, optional=True,
                    tooltip="At which frame the image is, from 0; -1 is the last.",
                ),
                io.Image.Input("references", optional=True, tooltip="Images of what appears in the clip, as a batch."),
                io.Video.Input("control_video", optional=True, tooltip="A control video, such as a depth map or pose."),
                io.Image.Input("control_images", optional=True, tooltip="The same as frames."),
                io.String.Input(
                    "control_name", default="control", optional=True,
                    tooltip="What the control video is, for models that take several: depth, pose, ...",
                ),
                io.Audio.Input("audio", optional=True, tooltip="Sound that the clip follows."),
                io.Combo.Input(
                    "fit", options=list(FITS), default="crop", optional=True, advanced=True,
                    tooltip="Images and videos of another shape than the clip: cropped, with black bars, or refused.",
                ),
            ],
            outputs=[CONDITIONS.Output(display_name="conditions", tooltip="For Render and Edit.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, conditions: dict[str, Any] | None = None, last_frame: torch.Tensor | None = None,
        image: torch.Tensor | None = None, frame: int = 0, references: torch.Tensor | None = None,
        control_video: Any = None, control_images: torch.Tensor | None = None, control_name: str = "control",
        audio: Any = None, fit: str = "crop",
    ) -> Any:  # fmt: skip
        found = {**(conditions or {}), **({"fit": fit} if fit != "crop" else {})}
        if last_frame is not None:
            found = add_condition(found, "last_image", single_image(last_frame, "last_frame"))
        if image is not None:
            found["images"] = add_condition(found.get("images", {}), frame, single_image(image, "image"))
        if references is not None:
            found["references"] = (*found.get("references", ()), *read_references(references))
        if control_video is not None or control_images is not None:
            control = read_clip(control_video, control_images, 16)
            found["control"] = add_condition(found.get("control", {}), control_name, control)
        if audio is not None:
            found = add_condition(found, "audio", to_sound(audio))
        return io.NodeOutput(found)


def _source_inputs() -> list[Any]:
    return [
        io.Video.Input("video", optional=True, tooltip="The clip. Connect this or images."),
        io.Image.Input("images", optional=True, tooltip="The clip as frames. Connect this or video."),
        io.Float.Input(
            "source_fps", default=16.0, min=0.1, max=240.0, step=0.1, optional=True, advanced=True,
            tooltip="Frames per second of images; a video has its own.",
        ),
    ]  # fmt: skip


class Edit(io.ComfyNode):
    """A clip made from another: restyled, or replaced within a mask."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenEdit",
            display_name="Edit (videogen)",
            category=ENGINE_CATEGORY,
            description="Renders a clip from another one, with models that take a video: restyle it by a strength, or "
            "generate a region within a mask. To transfer only its motion, connect Motion: Transfer to Render.",
            search_aliases=["videogen", "video to video", "vid2vid", "restyle", "inpaint", "vace"],
            inputs=[
                engine_input(),
                *_source_inputs(),
                prompt_input("What the edited clip shows."),
                negative_prompt_input(),
                io.Mask.Input(
                    "mask", optional=True,
                    tooltip="White where the clip is generated: one image for all frames, or one per frame.",
                ),
                io.Float.Input(
                    "strength", default=UNSET_STRENGTH, min=0.0, max=1.0, step=0.01, optional=True,
                    tooltip="How much of the clip is replaced: near 0 little, 1 keeps only its outline. 0: the model's "
                    "own, and for models that take none.",
                ),
                *sampling_inputs(),
                *speed_inputs(),
                CONDITIONS.Input("conditions", optional=True, tooltip="From Render Conditions: references, control."),
                *size_inputs(),
                *rare_inputs(),
                previews_input(),
            ],
            outputs=clip_outputs(),
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, engine: Any = None) -> Any:
        return check_node(
            cls, build_request, linked={"video": "video", "images": "video", "mask": "mask", "conditions": ""}
        )

    @classmethod
    def execute(
        cls, engine: Any, prompt: str, video: Any = None, images: torch.Tensor | None = None, source_fps: float = 16.0,
        mask: torch.Tensor | None = None, strength: float = UNSET_STRENGTH, conditions: dict[str, Any] | None = None,
        previews: bool = True, **values: Any,
    ) -> Any:  # fmt: skip
        given = dict(conditions or {})
        for name, value in video_conditions(read_clip(video, images, source_fps), mask, strength).items():
            given = add_condition(given, name, value)
        request = build_request({"prompt": prompt, **values}, conditions=given)
        return clip_result(engine, request, previews=previews)


class Extend(io.ComfyNode):
    """A clip with more frames after its end."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenExtend",
            display_name="Extend (videogen)",
            category=ENGINE_CATEGORY,
            description="Continues a clip: new frames follow its last ones, and the given frames stay as they are. For "
            "models that continue a video or clean latents (the embedded one does), or that take a first frame.",
            search_aliases=["videogen", "continue video", "longer", "video extension", "outpaint time"],
            inputs=[
                engine_input(),
                *_source_inputs(),
                prompt_input("What happens in the new frames."),
                negative_prompt_input(),
                length_input(33, "Frames that are added.", least=1),
                io.Latent.Input(
                    "latent", optional=True,
                    tooltip="The clip's own latents, from the Render or Extend that made it: the new frames then "
                    "follow as in one long render. Without them the end of the clip is encoded. For models that "
                    "continue latents.",
                ),
                *sampling_inputs(),
                *speed_inputs(),
                *rare_inputs(rate=False),
                previews_input(),
            ],
            outputs=clip_outputs(),
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, engine: Any = None) -> Any:
        return check_node(cls, _build_extension, complete=extension_fields)

    @classmethod
    def execute(
        cls, engine: Any, prompt: str, length: int, video: Any = None, images: torch.Tensor | None = None,
        source_fps: float = 16.0, latent: dict[str, Any] | None = None, seed: int = 0, previews: bool = True,
        **values: Any,
    ) -> Any:  # fmt: skip
        backbone = engine.backbone
        choose_way(backbone)
        clip = read_clip(video, images, source_fps)
        given = None if latent is None else from_latent(latent, backbone)

        def render(number: int, count: int, fields: dict[str, Any], techniques: Any) -> RenderedClip:
            """Each clip has a seed of its own: with the same noise, clips resemble each other."""
            request = _build_extension({"prompt": prompt, "seed": seed + number, **values}, **fields)
            progress.begin_clip(number, count)
            return render_within(engine, request, progress, previews=previews, techniques=techniques)

        with running(engine) as progress:
            found = extend_clip(backbone, clip, length, render, given)
        made, frames = Video(found.frames, clip.fps, audio=clip.audio), to_images(found.frames)
        return io.NodeOutput(
            to_comfy_video(made, frames), frames, to_comfy_audio(clip.audio),
            None if found.latents is None else to_latent(found.latents, backbone),
            describe_extension(found.frames, found.joins, found.way, backbone.geometry.temporal, found.notes),
            to_json({"clips": found.manifests}),
        )  # fmt: skip


def _build_extension(values: Any, **given: Any) -> RenderRequest:
    """A request of one of the clips, whose length is not the widget's."""
    others = {name: value for name, value in values.items() if name != "length"}
    return build_request(others, continuity="off", **given)
