"""Compilation of a motion specification to a `MotionPlan`, and the order of its layers.

The background is layer 0 and is static unless the specification moves it. Parts are applied in order. Drag, CutDrag and
a Transfer, Tracks or Flow with a region each add a layer on top. Transfer, Tracks and Flow without a region move the
entire background, so they come first and at most once. A Camera moves all layers before it and none after it: in `Drag
+ Camera` the object moves in the world and the camera views it; in `Camera + Drag` the path is in screen coordinates.
Where regions of the first frame overlap, the upper layer takes the pixels; an upper layer that leaves none to a lower
one is an error.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from videogen.core.errors import InputError
from videogen.core.keywords import suggest_keywords
from videogen.core.rates import exact_fps

from .camera import Camera
from .drag import CutDrag, Drag, Sprite
from .image_files import read_rgba_image
from .layer import DEFAULT, GIVEN, SHAPE, Field, Layer
from .plan import MotionPlan
from .region import centre_of, coverage
from .sources import Flow, Tracks, Transfer
from .spec import Motion, MotionPartError, parts_of

Reader = Callable[[str | os.PathLike[str]], Any]


@dataclass(frozen=True)
class Clip:
    """Length, size and rate of the clip that a plan is compiled for. fps: None where unknown; read_video: opens the
    path of a driving video; notes: what was done to fit a part to the clip."""

    frames: int
    height: int
    width: int
    fps: Fraction | None = None
    read_video: Reader | None = None
    notes: list[str] = dataclasses.field(default_factory=list)


@suggest_keywords
def compile_motion(
    motion: Motion,
    frames: int,
    height: int,
    width: int,
    *,
    fps: Fraction | float | None = None,
    read_video: Reader | None = None,
) -> MotionPlan:
    """Compile a motion for a clip of `frames` frames of `height` x `width` px.

    fps: of the clip. A `Transfer` from a video that also has a rate keeps the video's pace, otherwise frames are
    matched one to one. read_video: opens the path of a `Transfer` and returns frames uint8 [frame, height, width, 3] or
    an object with `.frames` and optionally `.fps`, for example `videogen.Video.open`. Raises InputError for parts that
    do not fit the clip, unreadable files, and layers that contradict each other.
    """
    for name, value in (("frames", frames), ("height", height), ("width", width)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise InputError(f"{name}={value!r} must be a whole number of at least 1")
    clip = Clip(int(frames), int(height), int(width), None if fps is None else exact_fps(fps), read_video)
    layers = [_static_layer(clip, "background")]
    for index, part in enumerate(parts_of(motion), 1):
        try:
            layers = _add_part(layers, part, clip, f"{type(part).__name__} (part {index})")
        except InputError as error:
            raise MotionPartError(str(error), index - 1, part) from error
    for layer in layers:
        if not np.isfinite(layer.to_screen).all() or not np.isfinite(np.linalg.inv(layer.to_screen)).all():
            raise InputError(f"{layer.name} moves beyond all bounds in this clip; give smaller moves")
    _check_layers(layers)
    return MotionPlan(clip.frames, clip.height, clip.width, tuple(layers), tuple(clip.notes))


def check_order(motion: Motion) -> None:
    """InputError where a part that moves the entire frame follows one that moves anything, which it would replace."""
    parts = parts_of(motion)
    for index, part in enumerate(parts, 1):
        before = any(not isinstance(one, Camera) or one != Camera(ease=one.ease) for one in parts[: index - 1])
        if isinstance(part, Transfer | Tracks | Flow) and part.region is None and before:
            raise _replaces(f"{type(part).__name__} (part {index})")


def _replaces(name: str) -> InputError:
    return InputError(
        f"{name} moves the entire frame and would replace the parts before it; put it first, or give it a region"
    )


def _add_part(layers: list[Layer], part: Motion, clip: Clip, name: str) -> list[Layer]:
    if isinstance(part, Camera):
        camera = [part.homographies(clip.frames, clip.height, clip.width, layer.depth) for layer in layers]
        return [layer.through_camera(maps) for layer, maps in zip(layers, camera, strict=True)]
    if isinstance(part, Drag):
        return [*layers, _drag_layer(part, clip, name)]
    if isinstance(part, CutDrag):
        return [
            *layers,
            *(_drag_layer(sprite, clip, f"{name}, sprite {i}") for i, sprite in enumerate(part.sprites, 1)),
        ]
    if isinstance(part, Transfer | Tracks | Flow):
        return _add_source(layers, part, clip, name)
    raise InputError(f"{type(part).__name__} is not a motion that can be compiled")


def _static_layer(clip: Clip, name: str, **rest: Any) -> Layer:
    return Layer(name, (clip.height, clip.width), np.tile(np.eye(3), (clip.frames, 1, 1)), **rest)


def _drag_layer(drag: Drag, clip: Clip, name: str) -> Layer:
    image = drag.image if isinstance(drag, Sprite) else None
    drag.check_path(clip.height, clip.width, starts_inside=image is None)
    if image is not None:
        return _sprite_layer(drag, image, clip, name)
    covered = coverage(drag.region_or_disc(clip.height, clip.width), clip.height, clip.width)
    centre = centre_of(covered)
    maps = drag.homographies(clip.frames, centre)
    outline = DEFAULT if drag.region is None else SHAPE if isinstance(drag.region, tuple) else GIVEN
    size = (clip.height, clip.width)
    return Layer(name, size, maps, covered, anchors=centre[None], depth=drag.depth, outline=outline)


def _sprite_layer(drag: Drag, image: Any, clip: Clip, name: str) -> Layer:
    """A sprite with its own image, whose centre is on the path's start."""
    rgba = image if isinstance(image, np.ndarray) else read_rgba_image(image)
    if not rgba[..., 3].any():
        raise InputError(f"the image of {name} is fully transparent; a sprite needs at least one opaque pixel")
    centre = np.asarray(drag.path[0])
    left, top = centre - np.array([rgba.shape[1], rgba.shape[0]]) / 2
    covered = rgba[..., 3].astype(np.float32) / 255
    maps = drag.homographies(clip.frames, centre)
    size = (clip.height, clip.width)
    return Layer(name, size, maps, covered, (float(left), float(top)), rgba[..., :3], centre[None], depth=drag.depth)


def _add_source(layers: list[Layer], part: Transfer | Tracks | Flow, clip: Clip, name: str) -> list[Layer]:
    from .source_fields import build_field

    if part.region is None and (len(layers) > 1 or layers[0].moves):
        raise _replaces(name)
    covered = None if part.region is None else coverage(part.region, clip.height, clip.width)
    field, anchors = build_field(part, clip)
    return _add_field(layers, field, anchors, covered, clip, name)


def _add_field(
    layers: list[Layer], field: Field, anchors: np.ndarray | None, covered: np.ndarray | None, clip: Clip, name: str
) -> list[Layer]:
    if covered is None:
        return [_static_layer(clip, name, field=field, anchors=anchors)]
    points = anchors if anchors is not None else centre_of(covered)[None]
    return [*layers, _static_layer(clip, name, field=field, anchors=points, coverage=covered)]


def _check_layers(layers: list[Layer]) -> None:
    """InputError where a layer cut from the first frame has no pixel left there."""
    cut = [layer for layer in layers if layer.coverage is not None and layer.image is None]
    for index, lower in enumerate(cut):
        assert lower.coverage is not None
        left = lower.coverage.copy()
        for upper in cut[index + 1 :]:
            left = np.minimum(left, 1 - (upper.coverage if upper.coverage is not None else 0))
        if left.sum() < 0.5:
            above = ", ".join(upper.name for upper in cut[index + 1 :])
            raise InputError(
                f"{lower.name} contradicts {above}: the same pixels cannot move in two ways; make their regions differ"
            )
