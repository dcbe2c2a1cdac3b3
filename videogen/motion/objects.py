"""Outlines of dragged objects: the object of a first frame that a drag's region points at, complete and in its place.

A disc around the start of a path says where an object is, not how far it reaches: moved as it is, it cuts a larger
object to a crescent. `fit_regions` replaces such discs by the outlines of the objects that they lie on, found by
GrabCut (Rother et al., SIGGRAPH 2004) from the disc's core and its surroundings.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .drag import default_radius
from .layer import DEFAULT, GIVEN, Layer
from .region import centre_of, coverage

if TYPE_CHECKING:
    from .plan import MotionPlan

_CORE = 0.35  # of the region's radius: what surely belongs to the object
_REACH = 2.2  # of the region's radius or the default disc's, whichever is larger: how far the object may reach
_LEAST_AREA = 0.1  # of an object, in areas of the region
_LARGEST_AREA = 0.75  # of an object, in areas of the reach
_LEAST_CONTRAST = 16.0  # mean RGB distance between an object and its surroundings, of 255
_ITERATIONS = 4
_DISTINCT = 0.6  # of the highest contrast: the least of an object that is searched for
_SEARCHED_PX = 128  # shorter side of the image in which objects are searched for


@dataclass(frozen=True)
class FoundObject:
    """The object at a drag's region. name: the layer's; area_px: its area, None where there is none, so that the region
    moves as it is; shift_px: how far (x, y) it was moved to the region's centre."""

    name: str
    area_px: int | None = None
    shift_px: tuple[float, float] = (0.0, 0.0)

    def to_dict(self) -> dict[str, Any]:
        return {"layer": self.name, "area_px": self.area_px, "shift_px": list(self.shift_px)}


def find_object(image: np.ndarray, region: np.ndarray) -> np.ndarray | None:
    """The object that a region lies on: bool [h, w]; None where no distinct object does.

    image: uint8 [h, w, 3]; region: its approximate coverage [h, w] in 0..1. The object contains the region's centre and
    reaches at most about twice as far as the region or a drag's default disc.
    """
    import cv2

    area = float(region.sum())
    if area < 4:
        return None
    height, width = region.shape
    radius, (x, y) = (area / np.pi) ** 0.5, centre_of(region)
    reach = _REACH * max(radius, default_radius(height, width))
    margin = 1.5 * reach  # of surroundings
    left, top, right, bottom = (
        max(0, int(x - margin)),
        max(0, int(y - margin)),
        int(x + margin) + 1,
        int(y + margin) + 1,
    )
    right, bottom = min(width, right), min(height, bottom)
    ys, xs = np.mgrid[top:bottom, left:right] + 0.5
    away = np.hypot(xs - x, ys - y)
    core = away <= max(1.0, _CORE * radius)
    if not core.any() or min(core.shape) < 3:
        return None
    labels = np.full(away.shape, cv2.GC_BGD, np.uint8)
    labels[away < reach] = cv2.GC_PR_BGD
    labels[region[top:bottom, left:right] > 0.5] = cv2.GC_PR_FGD
    labels[core] = cv2.GC_FGD
    if not np.isin(labels, (cv2.GC_BGD, cv2.GC_PR_BGD)).any():  # a region that covers the image has no surroundings
        return None
    cropped = np.ascontiguousarray(image[top:bottom, left:right])
    cv2.setRNGSeed(0)  # of the clustering by colour
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(cropped, labels, None, *models, _ITERATIONS, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]
    found = _component(np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)), core)
    if not _LEAST_AREA * area <= found.sum() <= _LARGEST_AREA * np.pi * reach**2 or not _is_distinct(cropped, found):
        return None
    result = np.zeros(region.shape, bool)
    result[top:bottom, left:right] = found
    return result


def find_outline(image: np.ndarray, region: np.ndarray) -> np.ndarray | None:
    """Coverage float32 [h, w] in 0..1 of the object that a region lies on, with its soft edge; None where no distinct
    object does. Arguments as for `find_object`."""
    mask = find_object(image, region)
    return None if mask is None else _soften(mask)


def search_object(image: np.ndarray, near: np.ndarray) -> np.ndarray | None:
    """The object whose centre is nearest to a point (x, y), of those that differ most from their surroundings: bool
    [h, w]; None where there is none.

    image: uint8 [h, w, 3]. Objects are looked for at the points of a grid, in a smaller copy of a large image.
    """
    import cv2

    height, width = image.shape[:2]
    shrunk = min(1.0, _SEARCHED_PX / min(height, width))
    size = max(1, round(width * shrunk)), max(1, round(height * shrunk))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if shrunk < 1 else image
    radius = default_radius(size[1], size[0])
    candidates: list[tuple[float, int, float, np.ndarray]] = []
    for y in np.arange(radius, size[1] - radius / 2, radius):
        for x in np.arange(radius, size[0] - radius / 2, radius):
            found = find_object(small, coverage((float(x), float(y), radius), size[1], size[0]))
            if found is not None:
                away = float(np.linalg.norm(centre_of(found) / shrunk - near))
                candidates.append((away, len(candidates), _contrast(small, found)[0], found))
    if not candidates:
        return None
    highest = max(contrast for _, _, contrast, _ in candidates)
    nearest = min(row for row in candidates if row[2] >= _DISTINCT * highest)[3]
    best = max((row for row in candidates if (row[3] & nearest).any()), key=lambda row: row[2])[3]
    if shrunk == 1:
        return best
    rough = cv2.resize(best.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return find_object(image, rough)


def fit_regions(
    plan: MotionPlan,
    first: np.ndarray,
    *,
    outlines: Collection[str] = (DEFAULT,),
    recentre: bool = False,
    search: bool = False,
) -> tuple[MotionPlan, tuple[FoundObject, ...]]:
    """A plan whose drags move complete objects of the first frame, uint8 [h, w, 3], and these objects.

    outlines: which regions are replaced (see `Layer.outline`). recentre: also move each object to its region's centre,
    so that it is on the path from the first frame on. search: where no object is at the region, take the nearest one,
    and move it there.
    """
    layers, found, taken = list(plan.layers), [], np.zeros((plan.height, plan.width), bool)
    for index in reversed(range(len(layers))):  # where regions overlap, the upper layer has the pixels
        layer = layers[index]
        if layer.image is not None or layer.coverage is None:
            continue
        if layer.outline not in outlines:
            taken |= layer.coverage > 0.5
            continue
        mask, here = find_object(first, layer.coverage), True
        if mask is None and search:
            mask, here = search_object(first, centre_of(layer.coverage)), False
        if mask is None or (mask & taken).sum() > mask.sum() / 2:
            found.append(FoundObject(layer.name))
            continue
        taken |= mask
        layers[index], shift = _with_outline(layer, mask, recentre or not here)
        found.append(FoundObject(layer.name, int(mask.sum()), shift))
    return replace(plan, layers=tuple(layers)), tuple(reversed(found))


def _with_outline(layer: Layer, mask: np.ndarray, recentre: bool) -> tuple[Layer, tuple[float, float]]:
    covered, centre = _soften(mask), centre_of(mask)
    if not recentre or layer.anchors is None:
        return replace(layer, coverage=covered, anchors=centre[None], outline=GIVEN), (0.0, 0.0)
    shift, moved = layer.anchors[0] - centre, np.eye(3)
    moved[:2, 2] = shift
    placed = replace(layer, coverage=covered, anchors=centre[None], to_screen=layer.to_screen @ moved, outline=GIVEN)
    return placed, (round(float(shift[0]), 1), round(float(shift[1]), 1))


def _soften(mask: np.ndarray) -> np.ndarray:
    """Coverage of a mask, one pixel more and softened: the edge's mixed pixels belong to the object."""
    import cv2

    grown = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.float32)
    return cv2.GaussianBlur(grown, (3, 3), 0)


def _component(mask: np.ndarray, core: np.ndarray) -> np.ndarray:
    """The connected part of a mask that has most of the core."""
    import cv2

    _, labels = cv2.connectedComponents(mask.astype(np.uint8))
    within = labels[core & mask]
    return np.asarray(labels == np.bincount(within).argmax()) if len(within) else np.zeros(mask.shape, bool)


def _is_distinct(image: np.ndarray, mask: np.ndarray) -> bool:
    """Whether a part of an image differs in colour from the ring around it."""
    contrast, variation = _contrast(image, mask)
    return contrast > max(_LEAST_CONTRAST, 1.5 * variation)


def _contrast(image: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """(distance in RGB between a part of an image and the ring around it, standard deviation within the ring)."""
    import cv2

    inner = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    ring = (cv2.dilate(inner.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0) & ~inner
    if not ring.any():
        return 0.0, 0.0
    inside, outside = image[mask].astype(np.float64), image[ring].astype(np.float64)
    return float(np.linalg.norm(inside.mean(0) - outside.mean(0))), float(outside.std(0).mean())
