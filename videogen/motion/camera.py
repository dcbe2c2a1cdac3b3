"""Camera motion as one homography per frame, for planes that face the first frame's camera.

Pan, tilt, roll and zoom need no depth. Truck, dolly and orbit move the camera itself: a layer at depth d (the
background is at 1) moves by the plane's homography K (R + t n^T / d) K^-1 (Hartley and Zisserman, Multiple View
Geometry, 13.1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from videogen.core.errors import InputError
from videogen.core.keywords import suggest_keywords

from .ease import check_ease, progress
from .spec import LEAST_SCALE, Motion, check_number

_DEFAULT_FOV = 50.0


@suggest_keywords
@dataclass(frozen=True)
class Camera(Motion):
    """Total camera motion from the first to the last frame; `ease` spreads it over the clip (see `ease.progress`).

    pan, tilt: px by which the image centre shifts because the camera turns right (the image moves left) or up (the
    image moves down). roll: degrees that the camera turns clockwise (the image turns counter-clockwise). zoom:
    magnification about the centre, interpolated geometrically; above 1 zooms in. truck: px that the background moves
    left because the camera moves right; a layer at depth d moves truck / d. dolly: fraction of the distance to the
    background that the camera moves forward, below 1; a layer at depth d grows by d / (d - dolly). orbit: degrees that
    the camera swings to the right around the background's centre. fov: the lens' horizontal angle in degrees. With
    None, pan and tilt shift the image evenly, as with a long lens, and orbit and truck use 50 degrees. With an angle,
    pan and tilt rotate the camera, with the perspective of that lens. Order of application: orbit, truck and dolly,
    zoom, roll, pan and tilt, so that a pan is measured in screen px.
    """

    pan: float = 0.0
    tilt: float = 0.0
    roll: float = 0.0
    zoom: float = 1.0
    truck: float = 0.0
    dolly: float = 0.0
    orbit: float = 0.0
    ease: str = "linear"
    fov: float | None = None

    def __post_init__(self) -> None:
        for name in ("pan", "tilt", "roll", "truck"):
            check_number(name, getattr(self, name))
        check_number("zoom", self.zoom, LEAST_SCALE)
        check_number("dolly", self.dolly, high=1.0)
        check_number("orbit", self.orbit, -90.0, 90.0)
        if self.fov is not None:
            check_number("fov", self.fov, 1.0, 170.0)
        check_ease(self.ease)

    def homographies(self, frames: int, height: int, width: int, depth: float = 1.0) -> np.ndarray:
        """float64 [frames, 3, 3]: from points (x, y, 1) of the first frame to their screen positions in each frame.

        depth: of the layer; the background is at 1. InputError where the camera passes the layer or sees it edge on.
        """
        if self.dolly >= depth:
            raise InputError(
                f"dolly={self.dolly:g} moves the camera through a layer at depth {depth:g}; keep it below the depth"
            )
        fractions = progress(self.ease, frames)
        lens = width / 2 / math.tan(math.radians((self.fov or _DEFAULT_FOV) / 2))
        centre = _shift(width / 2, height / 2)
        inside = np.stack([self._about_centre(fraction, lens, depth) for fraction in fractions])
        maps = centre @ inside @ np.linalg.inv(centre)
        _check_in_front(maps, height, width)
        return maps / maps[:, 2:, 2:]

    def _about_centre(self, fraction: float, lens: float, depth: float) -> np.ndarray:
        if fraction == 0:
            return np.eye(3)
        zoom = self.zoom**fraction
        return (
            self._turn(fraction, lens)
            @ _rotation(2, -math.radians(self.roll * fraction))
            @ np.diag([zoom, zoom, 1.0])
            @ self._travel(fraction, lens, depth)
        )

    def _turn(self, fraction: float, lens: float) -> np.ndarray:
        """Pan and tilt."""
        if self.fov is None:
            return _shift(-self.pan * fraction, self.tilt * fraction)
        turned = _rotation(0, -math.atan(self.tilt * fraction / lens)) @ _rotation(
            1, -math.atan(self.pan * fraction / lens)
        )
        return _lens(lens) @ turned @ _lens(1 / lens)

    def _travel(self, fraction: float, lens: float, depth: float) -> np.ndarray:
        """Orbit, then truck and dolly, for a plane at `depth` whose normal is the first frame's line of sight."""
        if not (self.orbit or self.truck or self.dolly):
            return np.eye(3)  # exact: the product of the lens matrices would round
        angle = math.radians(self.orbit * fraction)
        turned = _rotation(1, angle)
        orbit = np.array([math.sin(angle), 0.0, 1 - math.cos(angle)])
        moved = np.array([self.truck * fraction / lens, 0.0, self.dolly * fraction])
        normal = np.array([0.0, 0.0, 1.0])
        plane = turned @ (depth * np.eye(3) - np.outer(orbit, normal)) - np.outer(moved, normal)
        return _lens(lens) @ plane @ _lens(1 / lens) / depth


def _shift(x: float, y: float) -> np.ndarray:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def _lens(focal: float) -> np.ndarray:
    return np.diag([focal, focal, 1.0])


def _rotation(axis: int, angle: float) -> np.ndarray:
    """Right-handed about x (0), y (1) or z (2), with x right, y down and z ahead: about z it is clockwise on the
    screen."""
    i, j = [k for k in range(3) if k != axis]
    if axis == 1:
        i, j = j, i
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = math.cos(angle)
    matrix[i, j], matrix[j, i] = -math.sin(angle), math.sin(angle)
    return matrix


def _check_in_front(maps: np.ndarray, height: int, width: int) -> None:
    corners = np.array([[x, y, 1.0] for x in (0, width) for y in (0, height)]).T
    # in both directions: visible points must stay in front of the camera, and must have been in front before
    ahead = ((maps @ corners)[:, 2].min(1) > 0) & ((np.linalg.inv(maps) @ corners)[:, 2].min(1) > 0)
    if not ahead.all():
        frame = int(np.argmin(ahead))
        raise InputError(
            f"at frame {frame} the camera sees past the layer's plane; turn less (orbit, pan, tilt) or narrow fov"
        )
