"""Layer of a compiled motion: an image plane with one motion per frame, and possibly a motion field within it.

Legend: f frame, h height, w width. Texture coordinates are px in the first frame, from which the layer was cut.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from .interpolation import bilinear_or_zero, inside

#: how well a layer's coverage is known: a mask, a box, disc or polygon, or the disc around the start of a path
GIVEN, SHAPE, DEFAULT = "given", "shape", "default"


class Field(Protocol):
    """Motion within a layer: see `tracing.FlowField` and `splines.TrackField`."""

    def texture(self, points: np.ndarray, frame: int) -> tuple[np.ndarray, np.ndarray]: ...

    def step(self, points: np.ndarray, frame: int) -> np.ndarray: ...


@dataclass(frozen=True)
class ExtendedField:
    """A field that does not move after the frame `last`."""

    field: Field
    last: int

    def texture(self, points: np.ndarray, frame: int) -> tuple[np.ndarray, np.ndarray]:
        return self.field.texture(points, min(frame, self.last))

    def step(self, points: np.ndarray, frame: int) -> np.ndarray:
        return self.field.step(points, frame) if frame < self.last else points


@dataclass(frozen=True)
class Layer:
    """name: for messages. to_screen: float64 [f, 3, 3], texture to screen (with a field: the field's image to screen).

    coverage: float32 [h', w'], the covered area in texture coordinates, from the corner `origin` (x, y); None: covers
    everything. image: uint8 [h', w', 3] with the same origin, where the pixels do not come from the first frame.
    anchors: float64 [n, 2], texture points that represent the layer in tracks. field: motion within the layer. depth:
    1 for the background. outline: `GIVEN`, `SHAPE` or `DEFAULT`.
    """

    name: str
    size: tuple[int, int]
    to_screen: np.ndarray
    coverage: np.ndarray | None = None
    origin: tuple[float, float] = (0.0, 0.0)
    image: np.ndarray | None = None
    anchors: np.ndarray | None = None
    field: Field | None = None
    depth: float = 1.0
    outline: str = GIVEN

    def through_camera(self, homographies: np.ndarray) -> Layer:
        """This layer viewed by a moving camera, given as float64 [f, 3, 3]."""
        return replace(self, to_screen=homographies @ self.to_screen)

    def extend(self, frames: int) -> Layer:
        """This layer for so many frames: it does not move after its last one."""
        last = len(self.to_screen) - 1
        still = np.tile(self.to_screen[-1], (frames - 1 - last, 1, 1))
        field = None if self.field is None else ExtendedField(self.field, last)
        return replace(self, to_screen=np.concatenate([self.to_screen, still]), field=field)

    @property
    def moves(self) -> bool:
        return self.field is not None or not np.array_equal(
            self.to_screen, np.broadcast_to(np.eye(3), self.to_screen.shape)
        )

    def texture(self, points: np.ndarray, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """(float64 [..., 2], int32 [...]): the texture point at screen points [..., 2], and the frame in which that
        point is first visible.

        Where that frame is not 0, the point is not in the first frame, and its coordinates are those of the frame of
        first visibility.
        """
        local = points
        if not np.array_equal(self.to_screen[frame], np.eye(3)):
            local = apply(np.linalg.inv(self.to_screen[frame]), points)
        if self.field is None:
            return local, np.zeros(local.shape[:-1], np.int32)
        return self.field.texture(local, frame)

    def coverage_at(self, coordinates: np.ndarray, first_visible_frame: np.ndarray) -> np.ndarray:
        """float64 [...] in 0..1: coverage of points with this texture, ignoring the layers above."""
        if self.coverage is None:
            return np.ones(first_visible_frame.shape)
        covered = bilinear_or_zero(self.coverage, coordinates - np.asarray(self.origin))
        return np.where(first_visible_frame == 0, covered, 0.0)

    def may_cover(self, coordinates: np.ndarray) -> np.ndarray:
        """bool [...]: where the coverage can be above 0; a cheap bound."""
        if self.coverage is None:
            return np.ones(coordinates.shape[:-1], bool)
        height, width = self.coverage.shape
        return inside(coordinates - np.asarray(self.origin) + 0.5, height + 1, width + 1)

    def step(self, points: np.ndarray, frame: int) -> np.ndarray:
        """Positions in the next frame of screen points [..., 2] on this layer at `frame`."""
        local = apply(np.linalg.inv(self.to_screen[frame]), points)
        if self.field is not None:
            local = self.field.step(local, frame)
        return apply(self.to_screen[frame + 1], local)

    def missing(self, coordinates: np.ndarray, first_visible_frame: np.ndarray) -> np.ndarray:
        """bool [...]: where this texture is not in the first frame: disoccluded later, or outside the frame."""
        if self.image is not None:
            return np.zeros(first_visible_frame.shape, bool)
        return (first_visible_frame > 0) | ~inside(coordinates, *self.size)


def apply(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [..., 2] mapped by a homography [3, 3]."""
    if np.array_equal(homography[2], (0, 0, 1)):
        return points @ homography[:2, :2].T + homography[:2, 2]
    mapped = points @ homography[:, :2].T + homography[:, 2]
    return mapped[..., :2] / mapped[..., 2:]
