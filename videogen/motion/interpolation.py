"""Interpolation of fields between pixels, exact in float (OpenCV's remap rounds positions to 1/32 px)."""

from __future__ import annotations

import numpy as np

# A point may be assigned to a pixel other than the nearest, if that pixel has this weight and fits better by this much.
_LEAST_WEIGHT, _MARGIN_PX = 0.05, 0.1


def pixel_grid(height: int, width: int) -> np.ndarray:
    """Pixel centres: float64 [height, width, 2] of (x, y)."""
    ys, xs = np.mgrid[0:height, 0:width]
    return np.stack([xs, ys], axis=-1) + 0.5


def inside(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Whether points [..., 2] lie inside the image: bool [...]."""
    x, y = points[..., 0], points[..., 1]
    return (x >= 0) & (x <= width) & (y >= 0) & (y <= height)


def bilinear(field: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Field [height, width, ...] at points [..., 2] (x, y), held constant beyond its border: [..., (channels)]."""
    height, width = field.shape[:2]
    (x0, x1, fx), (y0, y1, fy) = _corners(points[..., 0], width), _corners(points[..., 1], height)
    if field.ndim == 3:
        fx, fy = fx[..., None], fy[..., None]
    top = field[y0, x0] * (1 - fx) + field[y0, x1] * fx
    bottom = field[y1, x0] * (1 - fx) + field[y1, x1] * fx
    return top * (1 - fy) + bottom * fy


def bilinear_or_zero(field: np.ndarray, points: np.ndarray) -> np.ndarray:
    """As `bilinear`, for a field [height, width] that is 0 beyond its border; computed only near the field."""
    height, width = field.shape
    near = inside(points + 0.5, height + 1, width + 1)
    result = np.zeros(near.shape)
    result[near] = bilinear(np.pad(field, 1), points[near] + 1)
    return result


def bilinear_within(
    field: np.ndarray,
    labels: np.ndarray,
    points: np.ndarray,
    tear: float,
    guide: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Field [height, width, 2] at points [..., 2], interpolated only between pixels of one surface: those with the
    label of the nearest pixel and a value within `tear` of that pixel's value.

    guide: (another field [height, width, 2], target [..., 2]): selects the surface by the neighbouring pixel whose
    value in that field is closest to the target, instead of the nearest pixel. Returns ([..., 2], labels [...]): pixels
    that moved together are interpolated, others are never blended.
    """
    height, width = labels.shape
    (x0, x1, fx), (y0, y1, fy) = _corners(points[..., 0], width), _corners(points[..., 1], height)
    around = [(y, x, wy * wx) for y, wy in ((y0, 1 - fy), (y1, fy)) for x, wx in ((x0, 1 - fx), (x1, fx))]
    row, column = np.where(fy < 0.5, y0, y1), np.where(fx < 0.5, x0, x1)
    if guide is not None:
        closest = np.abs(guide[0][row, column] - guide[1]).max(-1) - _MARGIN_PX
        for y, x, weight in around:
            gap = np.where(weight > _LEAST_WEIGHT, np.abs(guide[0][y, x] - guide[1]).max(-1), np.inf)
            better = gap < closest
            row, column, closest = np.where(better, y, row), np.where(better, x, column), np.minimum(gap, closest)
    label, value = labels[row, column], field[row, column]
    total, weights = np.zeros(value.shape), np.zeros(label.shape)
    for y, x, weight in around:
        other = field[y, x]
        weight = weight * ((labels[y, x] == label) & (np.abs(other - value).max(-1) <= tear))
        total += weight[..., None] * other
        weights += weight
    return total / weights[..., None], label


def resize_flow(flow: np.ndarray, height: int, width: int) -> np.ndarray:
    """Flow [n, 2, h, w] in px at another size, float32: fields are interpolated, and the px of each axis are scaled by
    that axis' ratio."""
    _, _, old_height, old_width = flow.shape
    if (old_height, old_width) == (height, width):
        return flow.astype(np.float32)
    ratio = np.array([width / old_width, height / old_height])
    at = pixel_grid(height, width) / ratio
    moved = [bilinear(np.moveaxis(field.astype(np.float64), 0, -1), at) * ratio for field in flow]
    return (
        np.moveaxis(np.stack(moved), -1, 1).astype(np.float32) if moved else np.zeros((0, 2, height, width), np.float32)
    )


def resize_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """A mask bool [n, h, w] at another size: true only where all contributing pixels are."""
    if mask.shape[1:] == (height, width) or not len(mask):
        return np.broadcast_to(mask, (len(mask), height, width)) if len(mask) else np.zeros((0, height, width), bool)
    at = pixel_grid(height, width) * (np.array(mask.shape[:0:-1]) / (width, height))
    return np.stack([bilinear(one.astype(np.float64), at) > 0.999 for one in mask])


def _corners(at: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pixels before and after each position, and the weight of the second."""
    at = np.clip(at - 0.5, 0, size - 1)
    low = np.minimum(np.floor(at).astype(np.intp), max(size - 2, 0))
    return low, np.minimum(low + 1, size - 1), at - low
