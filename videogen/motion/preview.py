"""Preview of a motion plan without a model: its layers composited over each other, with arrows along the motion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from videogen.core.errors import InputError

from .interpolation import pixel_grid

if TYPE_CHECKING:
    from .plan import MotionPlan

_TINTS = ((70, 110, 150), (220, 120, 60), (110, 180, 80), (190, 90, 170), (220, 190, 70), (80, 180, 190))
_NEW = (0.6, 0.3)  # brightness and tint weight of surfaces that come into view
_ARROW, _TRAIL = (255, 255, 255), (255, 210, 60)


def render_preview(
    plan: MotionPlan, first: np.ndarray | None, arrows: bool, background: np.ndarray | None = None
) -> np.ndarray:
    """uint8 [frame, height, width, 3]; see `MotionPlan.preview`."""
    for name, image in (("first frame", first), ("background", background)):
        if image is not None:
            _check_image(name, image, plan)
    images = None if first is None else _layer_images(plan, first)
    if images is not None and background is not None:
        images[0] = background.astype(np.float32)
    result = np.stack([_render_frame(plan, images, f) for f in range(plan.frames)])
    if arrows:
        for f in range(plan.frames):
            _draw_arrows(plan, result[f], f)
    return result


def fill_holes(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """An image float32 [h, w, 3] whose holes (bool [h, w]) are filled smoothly from their surroundings (push-pull
    pyramid).

    Gray where the entire image is a hole.
    """
    import cv2

    if not hole.any():
        return image
    weight = (~hole).astype(np.float32)
    levels = [(image * weight[..., None], weight)]
    while min(weight.shape) > 1:
        size = ((weight.shape[1] + 1) // 2, (weight.shape[0] + 1) // 2)
        summed, weight = (cv2.resize(a, size, interpolation=cv2.INTER_AREA) for a in levels[-1])
        levels.append((summed, weight))
    coarse = np.full((*weight.shape, 3), 128, np.float32)
    for summed, weight in reversed(levels):
        coarse = cv2.resize(coarse, weight.shape[::-1], interpolation=cv2.INTER_LINEAR).reshape(*weight.shape, 3)
        known = weight[..., None]
        coarse = np.where(known > 0, summed / np.maximum(known, 1e-9), coarse)
    return np.where(hole[..., None], coarse, image).astype(np.float32)


def advance_frame(plan: MotionPlan, image: np.ndarray, frame: int) -> np.ndarray:
    """An image of `frame`, uint8 [h, w, 3], moved by the plan to the next frame: layers composited over each other,
    disoccluded areas filled from their surroundings."""
    import cv2

    grid, now, then = pixel_grid(plan.height, plan.width), plan.masks_at(frame), plan.masks_at(frame + 1)
    canvas = np.zeros(image.shape, np.float32)
    for index, layer in enumerate(plan.layers):
        above = now[index + 1 :].sum(0) > 0
        filled = fill_holes(
            image.astype(np.float32), cv2.dilate(above.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        )
        origin = grid
        for _ in range(
            3 if layer.moves else 0
        ):  # fixed-point iteration: the position that the layer moves to this pixel
            origin = origin + grid - layer.step(origin.reshape(-1, 2), frame).reshape(grid.shape)
        maps = np.ascontiguousarray(origin - 0.5, np.float32)
        canvas += then[index][..., None] * cv2.remap(
            filled, maps, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def _check_image(name: str, image: np.ndarray, plan: MotionPlan) -> None:
    shape = (plan.height, plan.width, 3)
    if getattr(image, "dtype", None) != np.uint8 or np.shape(image) != shape:
        kind = f"{getattr(image, 'dtype', type(image).__name__)} {list(np.shape(image))}"
        raise InputError(f"the {name} must be uint8 {list(shape)}, the plan's size, not {kind}")


def _layer_images(plan: MotionPlan, first: np.ndarray) -> list[np.ndarray]:
    """Image of each layer in texture coordinates; the areas cut out for the layers above are filled."""
    import cv2

    result = []
    for index, layer in enumerate(plan.layers):
        above = [
            upper.coverage for upper in plan.layers[index + 1 :] if upper.coverage is not None and upper.image is None
        ]
        image = first.astype(np.float32)
        if layer.image is not None:
            image = layer.image.astype(np.float32)
        elif above:
            hole = cv2.dilate((np.maximum.reduce(above) > 0).astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
            image = fill_holes(image, hole)
        result.append(image)
    return result


def _render_frame(plan: MotionPlan, images: list[np.ndarray] | None, frame: int) -> np.ndarray:
    canvas = np.zeros((plan.height, plan.width, 3), np.float32)
    masks, grid = plan.masks_at(frame), pixel_grid(plan.height, plan.width)
    for index, layer in enumerate(plan.layers):
        where, first_visible_frame = layer.texture(grid, frame)
        if images is None:
            content = _grid_texture(where, first_visible_frame, _TINTS[index % len(_TINTS)])
        else:
            missing = layer.missing(where, first_visible_frame)
            content = _sample(images[index], where - np.asarray(layer.origin), missing)
        canvas += masks[index][..., None] * content
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def _sample(image: np.ndarray, where: np.ndarray, missing: np.ndarray) -> np.ndarray:
    import cv2

    maps = np.ascontiguousarray(where - 0.5, np.float32)  # OpenCV counts from the first pixel's centre
    sampled = cv2.remap(image, maps, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return fill_holes(sampled, missing)


def _grid_texture(where: np.ndarray, first_visible_frame: np.ndarray, tint: tuple[int, int, int]) -> np.ndarray:
    """A tinted checkerboard with fine texture; surfaces that came into view later are paler."""
    cell = max(4.0, min(first_visible_frame.shape) / 8)
    u, v = where[..., 0] / cell, where[..., 1] / cell
    checks = np.tanh(4 * np.sin(np.pi * u) * np.sin(np.pi * v))
    fine = np.sin(2.3 * np.pi * u + 0.7 * np.pi * v) * np.sin(1.9 * np.pi * v - 0.5 * np.pi * u)
    bright = 0.75 + 0.2 * checks + 0.08 * fine
    colour = bright[..., None] * np.asarray(tint, np.float32)
    pale = 255 * _NEW[0] * bright[..., None] + _NEW[1] * (colour - 128)
    return np.where(first_visible_frame[..., None] > 0, pale, colour).astype(np.float32)


def _draw_arrows(plan: MotionPlan, image: np.ndarray, frame: int) -> None:
    """Draw on one frame, in place: the trail of each track and an arrow along its way; without tracked objects, the
    flow on a grid."""
    import cv2

    thick = max(1, min(plan.height, plan.width) // 200)
    tracked = any(layer.anchors is not None for layer in plan.layers)
    if tracked:
        for track in plan.tracks():
            cv2.polylines(image, [_to_pixels(track)], False, _TRAIL, thick, cv2.LINE_AA)
    starts, ends = _arrows(plan, frame, tracked)
    for start, end in zip(_to_pixels(starts), _to_pixels(ends), strict=True):
        cv2.arrowedLine(image, tuple(map(int, start)), tuple(map(int, end)), _ARROW, thick, cv2.LINE_AA, tipLength=0.35)


def _arrows(plan: MotionPlan, frame: int, tracked: bool) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends [n, 2] of a frame's arrows, each as long as the motion in an eighth of the clip."""
    ahead = max(1, plan.frames // 8)
    if tracked:
        return plan.tracks()[:, frame], plan.tracks()[:, min(frame + ahead, plan.frames - 1)]
    if plan.frames == 1:
        return np.zeros((0, 2)), np.zeros((0, 2))
    step = max(4, min(plan.height, plan.width) // 5)
    at = pixel_grid(plan.height, plan.width)[step // 2 :: step, step // 2 :: step].reshape(-1, 2)
    columns, rows = at.astype(int).T
    return at, at + ahead * plan.flow()[min(frame, plan.frames - 2)][:, rows, columns].T


def _to_pixels(points: np.ndarray) -> np.ndarray:
    """Points as integer pixels, int32, clipped to the range that OpenCV can draw."""
    return np.clip(np.floor(points), -(2**14), 2**14).astype(np.int32)
