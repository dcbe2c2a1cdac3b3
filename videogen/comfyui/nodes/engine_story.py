"""Storyboard: a video of any length from prompts over time, in constant memory."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import InputImpl, io, ui

from videogen.media.reader import read_video
from videogen.request.continuity import AUTO, MEASURED
from videogen.request.continuity_policies import ROWS

from ..engine.graph import check_node
from ..engine.renders import render_file
from ..engine.reports import describe_render, to_json
from ..engine.stories import build_story, fingerprint_story, place_story
from ..images import to_images
from .engine_inputs import (
    ENGINE_CATEGORY,
    engine_input,
    negative_prompt_input,
    rare_inputs,
    sampling_inputs,
    size_inputs,
    speed_inputs,
)

_STORY = """[00:00-00:03] a red ball moves right on a black background
[00:03-00:06, blend(8)] a blue ball moves right on a black background"""


class Storyboard(io.ComfyNode):
    """A long video."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenStoryboard",
            display_name="Storyboard (videogen)",
            category=ENGINE_CATEGORY,
            description="Renders prompts over time as one video of any length, segment by segment, straight into a "
            "file in the output folder: memory does not grow with the length. When it is interrupted, the same "
            "settings resume it.",
            search_aliases=["videogen", "long video", "story", "prompt travel", "prompt schedule", "shots"],
            inputs=[
                engine_input(),
                io.String.Input(
                    "story", multiline=True, default=_STORY,
                    tooltip="One line per shot: [00:00-00:04] prompt. After the time may follow cut, hold or blend(8) "
                    "(frames), seed=7, motion=FILE. Also TOML with a [[shot]] for each.",
                ),
                io.String.Input(
                    "file", default="", optional=True, advanced=True,
                    tooltip="A story file in ComfyUI's input folder, in place of the text. It, and the files that a "
                    "story names, must be in that folder.",
                ),
                negative_prompt_input(),
                *size_inputs(),
                io.Float.Input(
                    "seconds", default=0.0, min=0.0, max=100_000.0, step=0.1, optional=True, advanced=True,
                    tooltip="Length of the video, for a story whose last shot is open. 0: that of the story.",
                ),
                io.Combo.Input(
                    "continuity", options=[AUTO, MEASURED, *ROWS], default=AUTO, optional=True,
                    tooltip="How segments are joined. auto: what suits the model; measured: the best in a trial of a "
                    "few seconds.",
                ),
                io.String.Input(
                    "policy_settings", default="", optional=True, advanced=True,
                    tooltip="Settings of a named policy, such as overlap=4,release=0.6 "
                    "(`videogen story policies` lists them).",
                ),
                io.Int.Input(
                    "retries", default=0, min=0, max=20, optional=True,
                    tooltip="How often a segment with a visible seam is rendered again with other noise.",
                ),
                io.Int.Input(
                    "window", default=0, min=0, max=100_000, optional=True, advanced=True,
                    tooltip="Frames that the model makes at once. 0: its native length.",
                ),
                *sampling_inputs(),
                *speed_inputs(),
                *rare_inputs(),
                io.String.Input(
                    "filename_prefix", default="videogen/story",
                    tooltip="Folder and name in ComfyUI's output folder.",
                ),
            ],
            outputs=[
                io.Video.Output(display_name="video", tooltip="The video's file."),
                io.Image.Output(display_name="last_frame", tooltip="The last frame."),
                io.String.Output(display_name="path", tooltip="Where the file is."),
                io.String.Output(display_name="report", tooltip="What was rendered and measured, in a few lines."),
                io.String.Output(display_name="manifest", tooltip="All settings and measurements as JSON."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, engine: Any = None) -> Any:
        return check_node(cls, build_story)

    @classmethod
    def fingerprint_inputs(cls, **values: Any) -> str:
        return fingerprint_story(values)

    @classmethod
    def execute(cls, engine: Any, filename_prefix: str, **values: Any) -> Any:
        request = build_story(values)
        place = place_story(engine, request, filename_prefix)
        found = render_file(engine, request, place.path)
        resumed = (f"{found.resumed} segments were done by an earlier run",) if found.resumed else ()
        last = read_video(found.path, start=found.frames - 1, frames=1)
        return io.NodeOutput(
            InputImpl.VideoFromFile(str(found.path)), to_images(last.frames), str(found.path),
            describe_render(found.manifest, (*resumed, *found.notes)), to_json(found.manifest),
            ui=ui.PreviewVideo([ui.SavedResult(found.path.name, place.subfolder, io.FolderType.output)]),
        )  # fmt: skip
