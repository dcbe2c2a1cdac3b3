"""A plan as pictures, by no model: its layers moved over each other, with arrows where things go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from videogen.core.errors import InputError

from .interpolation import pixel_grid

if TYPE_CHECKING:
    from .plan import MotionPlan

_TINTS = ((70, 110, 150), (220, 120, 60), (110, 180, 80), (190, 90, 170), (220, 190, 70), (80, 180, 190))
_NEW = (0.6, 0.3)  # brightness and share of tint of what comes into view
_ARROW, _TRAIL = (255, 255, 255), (255, 210, 60)


def render(plan: MotionPlan, first: np.ndarray | None, arrows: bool) -> np.ndarray:
    """uint8 [frame, height, width, 3]; see `MotionPlan.preview`."""
    pictures = None if first is None else _pictures(plan, _checked(first, plan))
    result = np.stack([_frame(plan, pictures, f) for f in range(plan.frames)])
    if arrows:
        for f in range(plan.frames):
            _draw_arrows(plan, result[f], f)
    return result


def fill(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """A picture float32 [h, w, 3] whose holes (bool [h, w]) are filled smoothly from around them (push-pull pyramid).

    Gray where there is nothing but hole.
    """
    import cv2

    if not hole.any():
        return picture
    weight = (~hole).astype(np.float32)
    levels = [(picture * weight[..., None], weight)]
    while min(weight.shape) > 1:
        size = ((weight.shape[1] + 1) // 2, (weight.shape[0] + 1) // 2)
        summed, weight = (cv2.resize(a, size, interpolation=cv2.INTER_AREA) for a in levels[-1])
        levels.append((summed, weight))
    coarse = np.full((*weight.shape, 3), 128, np.float32)
    for summed, weight in reversed(levels):
        coarse = cv2.resize(coarse, weight.shape[::-1], interpolation=cv2.INTER_LINEAR).reshape(*weight.shape, 3)
        known = weight[..., None]
        coarse = np.where(known > 0, summed / np.maximum(known, 1e-9), coarse)
    return np.where(hole[..., None], coarse, picture).astype(np.float32)


def moved_on(plan: MotionPlan, picture: np.ndarray, frame: int) -> np.ndarray:
    """A picture of `frame`, uint8 [h, w, 3], as the plan moves it to the next: its layers over each other, what they
    uncover filled from around it."""
    import cv2

    grid, now, then = pixel_grid(plan.height, plan.width), plan.masks_at(frame), plan.masks_at(frame + 1)
    canvas = np.zeros(picture.shape, np.float32)
    for index, layer in enumerate(plan.layers):
        above = now[index + 1 :].sum(0) > 0
        own = fill(
            picture.astype(np.float32), cv2.dilate(above.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        )
        origin = grid
        for _ in range(3 if layer.moves else 0):  # a fixed point: the place that the layer moves here
            origin = origin + grid - layer.step(origin.reshape(-1, 2), frame).reshape(grid.shape)
        maps = np.ascontiguousarray(origin - 0.5, np.float32)
        canvas += then[index][..., None] * cv2.remap(own, maps, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def _checked(first: np.ndarray, plan: MotionPlan) -> np.ndarray:
    shape = (plan.height, plan.width, 3)
    if getattr(first, "dtype", None) != np.uint8 or np.shape(first) != shape:
        told = f"{getattr(first, 'dtype', type(first).__name__)} {list(np.shape(first))}"
        raise InputError(f"the first frame must be uint8 {list(shape)} as the plan is, not {told}")
    return first


def _pictures(plan: MotionPlan, first: np.ndarray) -> list[np.ndarray]:
    """What each layer shows, in texture coordinates: a layer under others has no pixels where they were cut from it."""
    import cv2

    result = []
    for index, layer in enumerate(plan.layers):
        above = [
            upper.coverage for upper in plan.layers[index + 1 :] if upper.coverage is not None and upper.picture is None
        ]
        picture = first.astype(np.float32)
        if layer.picture is not None:
            picture = layer.picture.astype(np.float32)
        elif above:
            hole = cv2.dilate((np.maximum.reduce(above) > 0).astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
            picture = fill(picture, hole)
        result.append(picture)
    return result


def _frame(plan: MotionPlan, pictures: list[np.ndarray] | None, frame: int) -> np.ndarray:
    canvas = np.zeros((plan.height, plan.width, 3), np.float32)
    masks, grid = plan.masks_at(frame), pixel_grid(plan.height, plan.width)
    for index, layer in enumerate(plan.layers):
        where, births = layer.texture(grid, frame)
        if pictures is None:
            shown = _grid(where, births, _TINTS[index % len(_TINTS)])
        else:
            shown = _sampled(pictures[index], where - np.asarray(layer.origin), layer.unseen(where, births))
        canvas += masks[index][..., None] * shown
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def _sampled(picture: np.ndarray, where: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    import cv2

    maps = np.ascontiguousarray(where - 0.5, np.float32)  # OpenCV counts from the first pixel's centre
    shown = cv2.remap(picture, maps, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return fill(shown, unseen)


def _grid(where: np.ndarray, births: np.ndarray, tint: tuple[int, int, int]) -> np.ndarray:
    """A checkered plane with fine texture for the eye, in a tint; what came into view later is paler."""
    cell = max(4.0, min(births.shape) / 8)
    u, v = where[..., 0] / cell, where[..., 1] / cell
    checks = np.tanh(4 * np.sin(np.pi * u) * np.sin(np.pi * v))
    fine = np.sin(2.3 * np.pi * u + 0.7 * np.pi * v) * np.sin(1.9 * np.pi * v - 0.5 * np.pi * u)
    bright = 0.75 + 0.2 * checks + 0.08 * fine
    colour = bright[..., None] * np.asarray(tint, np.float32)
    pale = 255 * _NEW[0] * bright[..., None] + _NEW[1] * (colour - 128)
    return np.where(births[..., None] > 0, pale, colour).astype(np.float32)


def _draw_arrows(plan: MotionPlan, picture: np.ndarray, frame: int) -> None:
    """On one frame, in place: what each track has passed and where it goes; without tracked things the flow on a
    grid."""
    import cv2

    thick = max(1, min(plan.height, plan.width) // 200)
    things = any(layer.anchors is not None for layer in plan.layers)
    if things:
        for track in plan.tracks():
            cv2.polylines(picture, [_rounded(track)], False, _TRAIL, thick, cv2.LINE_AA)
    starts, ends = _arrows(plan, frame, things)
    for start, end in zip(_rounded(starts), _rounded(ends), strict=True):
        cv2.arrowedLine(
            picture, tuple(map(int, start)), tuple(map(int, end)), _ARROW, thick, cv2.LINE_AA, tipLength=0.35
        )


def _arrows(plan: MotionPlan, frame: int, things: bool) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends [n, 2] of a frame's arrows, each as long as what is done in an eighth of the clip."""
    ahead = max(1, plan.frames // 8)
    if things:
        return plan.tracks()[:, frame], plan.tracks()[:, min(frame + ahead, plan.frames - 1)]
    if plan.frames == 1:
        return np.zeros((0, 2)), np.zeros((0, 2))
    step = max(4, min(plan.height, plan.width) // 5)
    at = pixel_grid(plan.height, plan.width)[step // 2 :: step, step // 2 :: step].reshape(-1, 2)
    columns, rows = at.astype(int).T
    return at, at + ahead * plan.flow()[min(frame, plan.frames - 2)][:, rows, columns].T


def _rounded(points: np.ndarray) -> np.ndarray:
    """Points as whole pixels, int32, kept within what OpenCV can draw."""
    return np.clip(np.floor(points), -(2**14), 2**14).astype(np.int32)
