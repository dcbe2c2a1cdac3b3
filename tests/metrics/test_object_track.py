"""Track of an object: its centre is followed whatever its surface, where a point in optical flow slips off."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from videogen import InputError
from videogen.metrics.object_track import track_object

F, SIZE, SUB = 25, 64, 8


def clip(surface: str, path: np.ndarray, scale: np.ndarray, turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames of a square object of half-side 8 px * scale on a gray background, and its mask in the first."""
    ys, xs = (np.mgrid[0 : SIZE * SUB, 0 : SIZE * SUB] + 0.5) / SUB
    frames = []
    for (x, y), s, a in zip(path, scale, turn, strict=True):
        u, v = (xs - x) / s, (ys - y) / s
        u, v = np.cos(a) * u + np.sin(a) * v, -np.sin(a) * u + np.cos(a) * v
        inside = np.maximum(abs(u), abs(v)) < 8
        brightness = 200 + (40 * np.sin(u) * np.cos(v) if surface == "textured" else 0)
        fine = np.where(inside, brightness, 90.0)
        frames.append(fine.reshape(SIZE, SUB, SIZE, SUB).mean((1, 3)))
    return np.repeat(np.stack(frames)[..., None], 3, -1).round().astype(np.uint8), frames[0] > 140


def maps_of(path: np.ndarray, scale: np.ndarray, turn: np.ndarray) -> np.ndarray:
    result = np.tile(np.eye(3), (len(path), 1, 1))
    for matrix, at, s, a in zip(result, path, scale, turn, strict=True):
        matrix[:2, :2] = s * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        matrix[:2, 2] = at - matrix[:2, :2] @ path[0]
    return result


STRAIGHT = np.stack([np.linspace(14, 50, F), np.linspace(20, 44, F)], -1)
ONES, ZEROS = np.ones(F), np.zeros(F)


@pytest.mark.parametrize("surface", ["plain", "textured"])
@pytest.mark.parametrize(
    ("path", "scale", "turn"),
    [
        pytest.param(STRAIGHT, ONES, ZEROS, id="straight"),
        pytest.param(STRAIGHT, np.linspace(1, 1.4, F), ZEROS, id="growing"),
        pytest.param(STRAIGHT, ONES, np.linspace(0, 0.6, F), id="turning"),
    ],
)
def test_an_object_is_followed(surface: str, path: np.ndarray, scale: np.ndarray, turn: np.ndarray) -> None:
    frames, mask = clip(surface, path, scale, turn)
    found = track_object(frames, mask, maps_of(path, scale, turn))
    assert np.linalg.norm(found - path, axis=1).max() < 0.5


def test_where_the_object_went_elsewhere_that_is_what_is_measured() -> None:
    """Planned to the right, rendered at half that speed and downwards."""
    actual = np.stack([np.linspace(14, 32, F), np.linspace(20, 34, F)], -1)
    frames, mask = clip("plain", actual, ONES, ZEROS)
    planned = np.stack([np.linspace(14, 50, F), np.full(F, 20.0)], -1)
    assert np.linalg.norm(track_object(frames, mask, maps_of(planned, ONES, ZEROS)) - actual, axis=1).max() < 0.5


def test_a_moving_background_is_not_followed() -> None:
    ground = np.random.default_rng(0).integers(60, 120, (SIZE, SIZE + F), np.uint8)
    frames, mask = clip("plain", STRAIGHT, ONES, ZEROS)
    moving = np.stack([ground[:, f : f + SIZE] for f in range(F)])[..., None]
    frames = np.where(
        frames > 140,
        frames,
        cv2.GaussianBlur(moving[..., 0].transpose(1, 2, 0), (3, 3), 0).transpose(2, 0, 1)[..., None],
    )
    found = track_object(np.ascontiguousarray(frames), mask, maps_of(STRAIGHT, ONES, ZEROS))
    assert np.linalg.norm(found - STRAIGHT, axis=1).max() < 1.0


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(InputError, match="covers no pixel"):
        track_object(np.zeros((2, 8, 8, 3), np.uint8), np.zeros((8, 8)), np.tile(np.eye(3), (2, 1, 1)))
