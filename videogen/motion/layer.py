"""One layer of a compiled motion: a picture plane that moves as a whole, and possibly within itself.

Legend: f frame, h height, w width. Texture coordinates are px in the first frame, in which the layer stood as it was
cut.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from .interpolation import bilinear_or_zero, inside


class Field(Protocol):
    """Motion within a layer: see `tracing.FlowField` and `splines.TrackField`."""

    def texture(self, points: np.ndarray, frame: int) -> tuple[np.ndarray, np.ndarray]: ...

    def step(self, points: np.ndarray, frame: int) -> np.ndarray: ...


@dataclass(frozen=True)
class Layer:
    """name: for people. to_screen: float64 [f, 3, 3], texture to screen (with a field: the field's picture to screen).

    coverage: float32 [h', w'], what it covers in texture coordinates from the corner `origin` (x, y) on; None:
    everything. picture: uint8 [h', w', 3] with the same origin, where its pixels are not the first frame's. anchors:
    float64 [n, 2], texture points that stand for it in tracks. field: how it moves within itself. depth: the
    background's is 1.
    """

    name: str
    size: tuple[int, int]
    to_screen: np.ndarray
    coverage: np.ndarray | None = None
    origin: tuple[float, float] = (0.0, 0.0)
    picture: np.ndarray | None = None
    anchors: np.ndarray | None = None
    field: Field | None = None
    depth: float = 1.0

    def moved_by(self, homographies: np.ndarray) -> Layer:
        """This layer behind a moving camera, given as float64 [f, 3, 3]."""
        return replace(self, to_screen=homographies @ self.to_screen)

    @property
    def moves(self) -> bool:
        return self.field is not None or not np.array_equal(
            self.to_screen, np.broadcast_to(np.eye(3), self.to_screen.shape)
        )

    def texture(self, points: np.ndarray, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """(float64 [..., 2], int32 [...]): the texture point at screen points [..., 2], and the frame in which it was
        first seen.

        Births other than 0 are of places that the first frame does not hold; their coordinates are of the birth's own
        frame.
        """
        own = points
        if not np.array_equal(self.to_screen[frame], np.eye(3)):
            own = apply(np.linalg.inv(self.to_screen[frame]), points)
        if self.field is None:
            return own, np.zeros(own.shape[:-1], np.int32)
        return self.field.texture(own, frame)

    def covers(self, coordinates: np.ndarray, births: np.ndarray) -> np.ndarray:
        """float64 [...] in 0..1: how much of points with this texture is the layer's, whatever lies above."""
        if self.coverage is None:
            return np.ones(births.shape)
        return np.where(births == 0, bilinear_or_zero(self.coverage, coordinates - np.asarray(self.origin)), 0.0)

    def near(self, coordinates: np.ndarray) -> np.ndarray:
        """bool [...]: where the layer may cover anything at all."""
        if self.coverage is None:
            return np.ones(coordinates.shape[:-1], bool)
        height, width = self.coverage.shape
        return inside(coordinates - np.asarray(self.origin) + 0.5, height + 1, width + 1)

    def step(self, points: np.ndarray, frame: int) -> np.ndarray:
        """Where screen points [..., 2] on this layer at `frame` are in the next."""
        own = apply(np.linalg.inv(self.to_screen[frame]), points)
        if self.field is not None:
            own = self.field.step(own, frame)
        return apply(self.to_screen[frame + 1], own)

    def unseen(self, coordinates: np.ndarray, births: np.ndarray) -> np.ndarray:
        """bool [...]: where this texture is what the first frame does not hold."""
        if self.picture is not None:
            return np.zeros(births.shape, bool)
        return (births > 0) | ~inside(coordinates, *self.size)


def apply(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [..., 2] mapped by a homography [3, 3]."""
    if np.array_equal(homography[2], (0, 0, 1)):
        return points @ homography[:2, :2].T + homography[:2, 2]
    mapped = points @ homography[:, :2].T + homography[:, 2]
    return mapped[..., :2] / mapped[..., 2:]
