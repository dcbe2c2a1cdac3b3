"""Base of motion specifications: `Motion` and `+`, which composes parts in order, later ones on top."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from videogen.core.errors import InputError
from videogen.core.keywords import suggest_keywords

Point = tuple[float, float]
LEAST_SCALE = 1e-3  # a zoom or scale must be above this
LARGEST = 1e5  # px, degrees or factors: anything larger is taken for a typing error

#: how the frames of a driving video fill a clip of another aspect ratio; `exact`: they are refused
FITS = ("exact", "crop", "stretch")

#: how the frames of a source are matched to those of a clip: one to one, from the first on; or all of them, spread
#: over the clip
TIMINGS = ("frames", "stretch")


class Motion:
    """A part of a motion specification. `a + b` puts b on top of a."""

    def __add__(self, other: Motion) -> Compose:
        if not isinstance(other, Motion):
            return NotImplemented
        return Compose((*parts_of(self), *parts_of(other)))


class MotionPartError(InputError):
    """A part of a motion does not fit the clip. index: of the part, from 0; part: itself."""

    def __init__(self, message: str, index: int, part: Motion) -> None:
        super().__init__(message)
        self.index, self.part = index, part


@suggest_keywords
@dataclass(frozen=True)
class Compose(Motion):
    """Parts in order, lowest first; the result of `+`."""

    parts: tuple[Motion, ...]

    def __post_init__(self) -> None:
        flat = tuple(part for item in self.parts for part in parts_of(item))
        if not flat:
            raise InputError("a motion needs at least one part, such as Camera(pan=8)")
        object.__setattr__(self, "parts", flat)


def parts_of(motion: Motion) -> tuple[Motion, ...]:
    """The parts of a motion, lowest first; InputError for any other object."""
    if not isinstance(motion, Motion):
        raise InputError(
            f"{type(motion).__name__} is not a motion; use Camera, Drag, CutDrag, Transfer, Tracks, Flow, or a sum "
            "of them"
        )
    return motion.parts if isinstance(motion, Compose) else (motion,)


def check_number(name: str, value: object, low: float = -math.inf, high: float = math.inf) -> float:
    """`value` as a float strictly between low and high; InputError otherwise. name: for the message."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{name}={value!r} must be a finite number")
    if abs(value) > LARGEST:
        raise InputError(f"{name}={value!r} is beyond {LARGEST:g}")
    if not low < value < high:
        bounds = " and ".join(
            word for word in (f"above {low:g}" * math.isfinite(low), f"below {high:g}" * math.isfinite(high)) if word
        )
        raise InputError(f"{name}={value!r} must be {bounds}")
    return float(value)


def check_points(name: str, points: object, least: int) -> tuple[Point, ...]:
    """Points ((x, y), ...) as floats; InputError where these are not points or are fewer than `least`."""
    if isinstance(points, str) or not isinstance(points, Sequence):
        raise InputError(f"{name}={points!r} must be a list of (x, y) points")
    if len(points) < least:
        raise InputError(f"{name} has {len(points)} points and needs at least {least}")
    for point in points:
        if isinstance(point, str) or not isinstance(point, Sequence) or len(point) != 2:
            raise InputError(f"{name} has {point!r}, which is not an (x, y) point")
    return tuple((check_number(f"{name} x", x), check_number(f"{name} y", y)) for x, y in points)
