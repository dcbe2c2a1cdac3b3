"""Drags: a region of the first frame, or a cut-out image, moved along a path, with scaling and rotation."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from videogen.core.errors import InputError
from videogen.core.keywords import suggest_keywords

from .ease import check_ease, points_along, points_at, progress
from .region import check_region
from .spec import LEAST_SCALE, Motion, Point, check_number, check_points

#: as an ease: the points of the path are equally spaced in time
TIMED = "timed"
_DISC_FRACTION = 6  # a drag without a region takes a disc of the shorter side over this


def default_radius(height: int, width: int) -> float:
    """Radius in px of the disc that a drag without a region takes."""
    return max(1.0, min(height, width) / _DISC_FRACTION)


@suggest_keywords
@dataclass(frozen=True)
class Drag(Motion):
    """A region of the first frame that moves along a path over the static layers below it.

    region: mask [height, width] or the path of its image file, box (x0, y0, x1, y1), polygon ((x, y), ...), disc (x, y,
    radius), or None: a disc around the path's start whose radius is a sixth of the image's shorter side. path: points
    in px; only displacements from the first point matter; traversed at constant speed under `ease`, or, with the ease
    `timed`, with its points equally spaced in time; a single point keeps the region in place. scale, rotate: size and
    degrees (clockwise) reached at the last frame, about the region's centroid. depth: 1 is as far as the background,
    less is nearer (matters for a Camera's truck, dolly and orbit).
    """

    region: Any = None
    path: Sequence[Point] = ()
    scale: float = 1.0
    rotate: float = 0.0
    ease: str = "linear"
    depth: float = 1.0

    def __post_init__(self) -> None:
        if self.region is not None:
            object.__setattr__(self, "region", check_region(self.region))
        object.__setattr__(self, "path", check_points("path", self.path, 1))
        check_number("scale", self.scale, LEAST_SCALE)
        check_number("rotate", self.rotate)
        check_number("depth", self.depth, 0.0)
        if self.ease != TIMED:
            check_ease(self.ease)

    def region_or_disc(self, height: int, width: int) -> Any:
        """The region, or the default disc for None."""
        return self.region if self.region is not None else (*self.path[0], default_radius(height, width))

    def check_path(self, height: int, width: int, *, starts_inside: bool = True) -> None:
        """InputError for a path that begins outside the frame, or leaves it by more than the frame's own size."""
        x, y = self.path[0]
        if starts_inside and not (0 <= x <= width and 0 <= y <= height):
            raise InputError(
                f"the path begins at ({x:g}, {y:g}), outside the {width}x{height} frame; begin on the object that is "
                "to move"
            )
        for x, y in self.path:
            if not (-width <= x <= 2 * width and -height <= y <= 2 * height):
                raise InputError(f"path point ({x:g}, {y:g}) lies more than a full frame outside {width}x{height}")

    def homographies(self, frames: int, centre: np.ndarray) -> np.ndarray:
        """float64 [frames, 3, 3]: from points (x, y, 1) of the first frame to their positions in each frame. centre:
        the pivot (x, y), px."""
        timed = self.ease == TIMED
        fractions = progress("linear" if timed else self.ease, frames)
        moved = (points_at if timed else points_along)(self.path, fractions) - np.asarray(self.path[0])
        maps = np.zeros((frames, 3, 3))
        for matrix, fraction, shift in zip(maps, fractions, moved, strict=True):
            angle, size = math.radians(self.rotate * fraction), self.scale**fraction
            linear = size * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
            matrix[:2, :2], matrix[:2, 2], matrix[2, 2] = linear, centre + shift - linear @ centre, 1.0
        return maps


@suggest_keywords
@dataclass(frozen=True)
class Sprite(Drag):
    """A Drag whose pixels may come from an image file.

    image: uint8 RGBA [height, width, 4] or the path of an RGBA image. Its centre is placed on the path's start, which
    may lie outside the frame, and `region` stays None. Without an image the region is cut from the first frame.
    """

    image: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image is None:
            return
        if self.region is not None:
            raise InputError("a sprite has an image or a region of the first frame, not both; leave one of them out")
        if isinstance(self.image, str | os.PathLike):
            return
        shape: tuple[int, ...] = getattr(self.image, "shape", ())
        if getattr(self.image, "dtype", None) != np.uint8 or len(shape) != 3 or shape[2] != 4 or 0 in shape:
            raise InputError(f"a sprite's image must be uint8 RGBA [height, width, 4], not {list(shape)}")


@suggest_keywords
@dataclass(frozen=True)
class CutDrag(Motion):
    """Sprites, lowest first, each on its own path."""

    sprites: tuple[Drag, ...]

    def __post_init__(self) -> None:
        sprites = tuple(self.sprites) if isinstance(self.sprites, list | tuple) else (self.sprites,)
        if not sprites or not all(isinstance(sprite, Drag) for sprite in sprites):
            raise InputError("CutDrag needs sprites: CutDrag((Sprite(region, path), ...))")
        object.__setattr__(self, "sprites", sprites)
