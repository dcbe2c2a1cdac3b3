"""From a specification to a `MotionPlan`: how layers lie on each other.

The background is layer 0 and stands still unless told. Parts are taken in their order. Drag, CutDrag and a Transfer,
Tracks or Flow with a region each add a layer over all before. Transfer, Tracks and Flow without a region move the whole
background, so they come first and at most once. A Camera moves all that stands before it and nothing after it: in `Drag
+ Camera` the thing moves in the world and the camera sees it; in `Camera + Drag` its path is the screen's. Where
regions of the first frame overlap, the upper layer takes the pixels; one that leaves a lower layer nothing contradicts
it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from videogen.core.errors import InputError
from videogen.core.rates import exact_fps

from .camera import Camera
from .drag import CutDrag, Drag, Sprite
from .image_files import read_image
from .layer import Field, Layer
from .plan import MotionPlan
from .region import centre_of, coverage
from .sources import Flow, Tracks, Transfer
from .spec import Motion, parts_of

Reader = Callable[[str | os.PathLike[str]], Any]


@dataclass(frozen=True)
class Clip:
    """What a plan is made for; fps: frames a second, where known; read_video opens a driving clip's path."""

    frames: int
    height: int
    width: int
    fps: Fraction | None = None
    read_video: Reader | None = None


def compile_motion(
    motion: Motion,
    frames: int,
    height: int,
    width: int,
    *,
    fps: Fraction | float | None = None,
    read_video: Reader | None = None,
) -> MotionPlan:
    """Make a motion concrete for a clip of `frames` frames of `height` x `width` px.

    fps: of the clip; a `Transfer` from a video that has a rate too keeps its pace, else frame follows frame.
    read_video: opens the path of a `Transfer`, giving frames uint8 [frame, height, width, 3] or an object with
    `.frames` and perhaps `.fps`, such as `videogen.Video.open`. Raises InputError for what does not fit the clip, files
    that cannot be read and layers that contradict each other.
    """
    for name, value in (("frames", frames), ("height", height), ("width", width)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise InputError(f"{name}={value!r} must be a whole number of at least 1")
    clip = Clip(int(frames), int(height), int(width), None if fps is None else exact_fps(fps), read_video)
    layers = [_still(clip, "background")]
    for index, part in enumerate(parts_of(motion), 1):
        layers = _add(layers, part, clip, f"{type(part).__name__} (part {index})")
    for layer in layers:
        if not np.isfinite(layer.to_screen).all() or not np.isfinite(np.linalg.inv(layer.to_screen)).all():
            raise InputError(f"{layer.name} goes out of all bounds in this clip; give smaller moves")
    _check_layers(layers)
    return MotionPlan(clip.frames, clip.height, clip.width, tuple(layers))


def _add(layers: list[Layer], part: Motion, clip: Clip, name: str) -> list[Layer]:
    if isinstance(part, Camera):
        seen = [part.homographies(clip.frames, clip.height, clip.width, layer.depth) for layer in layers]
        return [layer.moved_by(maps) for layer, maps in zip(layers, seen, strict=True)]
    if isinstance(part, Drag):
        return [*layers, _dragged(part, clip, name)]
    if isinstance(part, CutDrag):
        return [*layers, *(_dragged(sprite, clip, f"{name}, sprite {i}") for i, sprite in enumerate(part.sprites, 1))]
    if isinstance(part, Transfer | Tracks | Flow):
        return _from_source(layers, part, clip, name)
    raise InputError(f"{type(part).__name__} is no motion that can be compiled")


def _still(clip: Clip, name: str, **rest: Any) -> Layer:
    return Layer(name, (clip.height, clip.width), np.tile(np.eye(3), (clip.frames, 1, 1)), **rest)


def _dragged(drag: Drag, clip: Clip, name: str) -> Layer:
    own_picture = drag.picture if isinstance(drag, Sprite) else None
    drag.check_path(clip.height, clip.width, starts_inside=own_picture is None)
    if own_picture is not None:
        return _pasted(drag, own_picture, clip, name)
    covered = coverage(drag.region_or_disc(clip.height, clip.width), clip.height, clip.width)
    centre = centre_of(covered)
    maps = drag.homographies(clip.frames, centre)
    return Layer(name, (clip.height, clip.width), maps, covered, anchors=centre[None], depth=drag.depth)


def _pasted(drag: Drag, picture: Any, clip: Clip, name: str) -> Layer:
    """A sprite with pixels of its own, its centre on the path's start."""
    rgba = picture if isinstance(picture, np.ndarray) else read_image(picture, channels=4)
    if not rgba[..., 3].any():
        raise InputError(f"the picture of {name} is wholly transparent; a sprite needs at least one opaque pixel")
    centre = np.asarray(drag.path[0])
    left, top = centre - np.array([rgba.shape[1], rgba.shape[0]]) / 2
    covered = rgba[..., 3].astype(np.float32) / 255
    maps = drag.homographies(clip.frames, centre)
    size = (clip.height, clip.width)
    return Layer(name, size, maps, covered, (float(left), float(top)), rgba[..., :3], centre[None], depth=drag.depth)


def _from_source(layers: list[Layer], part: Transfer | Tracks | Flow, clip: Clip, name: str) -> list[Layer]:
    from .source_fields import field_of

    if part.region is None and (len(layers) > 1 or layers[0].moves):
        raise InputError(
            f"{name} moves the whole picture and would replace what stands before it; put it first, or give it a region"
        )
    covered = None if part.region is None else coverage(part.region, clip.height, clip.width)
    field, anchors = field_of(part, clip)
    return _with_field(layers, field, anchors, covered, clip, name)


def _with_field(
    layers: list[Layer], field: Field, anchors: np.ndarray | None, covered: np.ndarray | None, clip: Clip, name: str
) -> list[Layer]:
    if covered is None:
        return [_still(clip, name, field=field, anchors=anchors)]
    points = anchors if anchors is not None else centre_of(covered)[None]
    return [*layers, _still(clip, name, field=field, anchors=points, coverage=covered)]


def _check_layers(layers: list[Layer]) -> None:
    """Each layer that is cut from the first frame must keep a pixel of its own there."""
    cut = [layer for layer in layers if layer.coverage is not None and layer.picture is None]
    for index, lower in enumerate(cut):
        assert lower.coverage is not None
        left = lower.coverage.copy()
        for upper in cut[index + 1 :]:
            left = np.minimum(left, 1 - (upper.coverage if upper.coverage is not None else 0))
        if left.sum() < 0.5:
            above = ", ".join(upper.name for upper in cut[index + 1 :])
            raise InputError(
                f"{lower.name} contradicts {above}: the same pixels cannot go two ways; make their regions differ"
            )
