"""Regions of the first frame that a motion moves: a mask, a box, a polygon or a disc, as coverage 0..1."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from videogen.core.errors import InputError

from .image_files import read_mask_image
from .spec import check_number, check_points

_SUBSAMPLES = 4  # per axis


def check_region(region: Any) -> Any:
    """A region in its plain form: mask array, path of an image, or box, disc or polygon of floats; InputError for
    anything else."""
    if isinstance(region, np.ndarray):
        if region.ndim != 2 or not (region.dtype == bool or np.issubdtype(region.dtype, np.number)):
            raise InputError(
                f"a mask must be [height, width], bool, uint8 or float, not {region.dtype} {list(region.shape)}"
            )
        return region
    if isinstance(region, str | os.PathLike):
        return region
    if not isinstance(region, Sequence) or not region:
        raise InputError(
            f"region {region!r} is not a region; give a mask, a box (x0, y0, x1, y1), a disc (x, y, radius) or a "
            "polygon's points"
        )
    if isinstance(region[0], Sequence) and not isinstance(region[0], str):
        return check_points("polygon", region, 3)
    numbers = tuple(check_number("region", value) for value in region)
    if len(numbers) == 4:
        if numbers[0] >= numbers[2] or numbers[1] >= numbers[3]:
            raise InputError(f"box {region!r} is empty; it is (x0, y0, x1, y1) with x0 < x1 and y0 < y1")
        return numbers
    if len(numbers) == 3:
        if numbers[2] <= 0:
            raise InputError(f"disc {region!r} has no radius; it is (x, y, radius)")
        return numbers
    raise InputError(
        f"region {region!r} has {len(numbers)} numbers; a box has 4 (x0, y0, x1, y1), a disc 3 (x, y, radius)"
    )


def coverage(region: Any, height: int, width: int) -> np.ndarray:
    """Coverage of each pixel by a region: float32 [height, width] in 0..1.

    In a mask, white is covered (bool, uint8 0..255, float 0..1); it must have the clip's size. A box spans pixel
    columns x0 to x1 - 1 and rows y0 to y1 - 1. Polygons are filled by the even-odd rule. InputError where no pixel is
    covered.
    """
    region = check_region(region)
    if isinstance(region, np.ndarray | str | os.PathLike):
        result = _coverage_of_mask(region, height, width)
    elif len(region) == 4 and not isinstance(region[0], tuple):
        result = _coverage_of_box(region, height, width)
    else:
        result = _coverage_of_shape(region, height, width)
    if result.sum() < 0.5:
        name = "the mask" if isinstance(region, np.ndarray) else repr(region)
        raise InputError(f"{name} covers no pixel of the {width}x{height} frame; a region needs at least one")
    return result


def centre_of(covered: np.ndarray) -> np.ndarray:
    """Centroid (x, y) of coverage [height, width], in px."""
    ys, xs = np.mgrid[0 : covered.shape[0], 0 : covered.shape[1]]
    return np.array([(xs * covered).sum(), (ys * covered).sum()]) / covered.sum() + 0.5


def _coverage_of_mask(mask: Any, height: int, width: int) -> np.ndarray:
    if not isinstance(mask, np.ndarray):
        mask = read_mask_image(mask)
    if mask.shape != (height, width):
        raise InputError(f"the mask is {mask.shape[1]}x{mask.shape[0]}, the clip is {width}x{height}; make them equal")
    values = mask.astype(np.float32) / (255 if mask.dtype == np.uint8 else 1)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise InputError(
            f"the mask's values go from {values.min():g} to {values.max():g}; they must be bool, uint8 or float in 0..1"
        )
    return values


def _coverage_of_box(box: tuple[float, ...], height: int, width: int) -> np.ndarray:
    x0, y0, x1, y1 = box
    column, row = np.arange(width), np.arange(height)
    across = np.clip(np.minimum(x1, column + 1) - np.maximum(x0, column), 0, 1)
    down = np.clip(np.minimum(y1, row + 1) - np.maximum(y0, row), 0, 1)
    return np.outer(down, across).astype(np.float32)


def _coverage_of_shape(shape: Any, height: int, width: int) -> np.ndarray:
    """A polygon or disc, sampled `_SUBSAMPLES` times an axis within each pixel."""
    xs = (np.arange(width * _SUBSAMPLES) + 0.5) / _SUBSAMPLES
    ys = ((np.arange(height * _SUBSAMPLES) + 0.5) / _SUBSAMPLES)[:, None]
    if isinstance(shape[0], tuple):
        inside = _in_polygon(np.asarray(shape), xs, ys)
    else:
        inside = (xs - shape[0]) ** 2 + (ys - shape[1]) ** 2 <= shape[2] ** 2
    return inside.reshape(height, _SUBSAMPLES, width, _SUBSAMPLES).mean((1, 3), dtype=np.float32)


def _in_polygon(corners: np.ndarray, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    """Even-odd rule at xs [n] and ys [m, 1]: bool [m, n]."""
    inside = np.zeros((len(ys), len(xs)), bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if ay == by:
            continue
        crosses = (ys >= min(ay, by)) & (ys < max(ay, by))
        inside ^= crosses & (xs < ax + (ys - ay) * (bx - ax) / (by - ay))
    return inside
