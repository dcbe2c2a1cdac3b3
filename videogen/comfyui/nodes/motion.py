"""Sockets and inputs that the nodes of motions share."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from videogen.motion.spec import check_number

from ..schema import CATEGORY

MOTION = io.Custom("VIDEOGEN_MOTION")
FLOW = io.Custom("VIDEOGEN_FLOW")
MOTION_CATEGORY = f"{CATEGORY}/motion"
EASES = ["linear", "in", "out", "in_out"]


def motion_output() -> Any:
    return MOTION.Output(display_name="motion", tooltip="For Warped Noise, Motion Preview and Motion: Combine.")


def base_input() -> Any:
    return MOTION.Input("motion", optional=True, tooltip="Another motion, on top of which this one comes.")


def ease_input() -> Any:
    return io.Combo.Input(
        "ease", options=EASES, default="linear",
        tooltip="linear: even speed. in: begins slowly. out: ends slowly. in_out: both.",
    )  # fmt: skip


def region_input(tooltip: str, *, optional: bool = True) -> Any:
    return io.MultiType.Input("region", types=[io.Mask, io.BoundingBox], optional=optional, tooltip=tooltip)


def number_input(name: str, default: float, most: float, tooltip: str, **more: Any) -> Any:
    """A number from -most to most."""
    return io.Float.Input(name, default=default, min=-most, max=most, step=1.0, tooltip=tooltip, **more)


def pixel_input(name: str, tooltip: str) -> Any:
    return number_input(name, 0.0, 8192.0, f"{tooltip} In pixels.")


def scale_input(name: str, tooltip: str, **more: Any) -> Any:
    return io.Float.Input(name, default=1.0, min=0.1, max=10.0, step=0.01, tooltip=tooltip, **more)


def size_inputs() -> list[Any]:
    """Width, height and length of a clip."""
    return [
        io.Int.Input("width", default=832, min=8, max=8192, step=8, tooltip="Of the clip, in pixels."),
        io.Int.Input("height", default=480, min=8, max=8192, step=8, tooltip="Of the clip, in pixels."),
        length_input(),
    ]


def length_input() -> Any:
    return io.Int.Input("length", default=81, min=1, max=4096, tooltip="Frames of the clip.")


def check_numbers(**values: float) -> None:
    """InputError for a value of an input that is not finite or beyond all bounds."""
    for name, value in values.items():
        check_number(name, value)


def check_length(length: int) -> None:
    """ValueError for a length that a linked input may have."""
    if not 1 <= length <= 4096:
        raise ValueError(f"length={length} must be from 1 to 4096 frames")
