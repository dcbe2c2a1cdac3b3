"""Optical flow between frames: DIS (Kroeger et al., ECCV 2016, in OpenCV) by default, RAFT where torchvision is
installed.

Flow is float32 [2, height, width], (dx, dy) in px: the point at (x, y) in the first image is at (x + dx, y + dy) in the
second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from videogen.core.errors import InputError, unknown

from .flow_cache import FlowCache
from .interpolation import bilinear, inside, pixel_grid

METHODS = ("dis", "raft")
PRESETS = {"ultrafast": 0, "fast": 1, "medium": 2}
_LEAST_SIDE = 16  # DIS needs full patches on a coarser level: smaller images are padded
Pair = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class FlowPair:
    """Flow between neighbouring frames: forward from each to the next, backward from the next to it.

    forward, backward: float32 [frames - 1, 2, height, width]; forward_valid, backward_valid: bool [frames - 1, height,
    width], where the two directions agree (see `consistent`).
    """

    forward: np.ndarray
    backward: np.ndarray
    forward_valid: np.ndarray
    backward_valid: np.ndarray


def estimate(first: np.ndarray, second: np.ndarray, *, method: str = "dis", preset: str = "medium") -> np.ndarray:
    """Flow float32 [2, height, width] from one image uint8 [height, width, 3] to another of the same size.

    method: `dis` or `raft`; preset, for DIS: `ultrafast`, `fast`, `medium`. In images of 64 px `medium` smooths away
    objects of 12 px that `fast` still resolves. Raises InputError for images that cannot be compared, UnsupportedError
    where RAFT is not installed.
    """
    _check_images(first, second)
    return _estimator(method, preset)(first, second)


def flow_both_ways(
    frames: np.ndarray,
    *,
    method: str = "dis",
    preset: str = "medium",
    cache: bool | FlowCache = True,
    estimator: Pair | None = None,
) -> FlowPair:
    """Flow between all neighbouring frames of a clip uint8 [frame, height, width, 3], in both directions, with validity
    masks.

    cache: store each pair's flow on disk, keyed by the images' content (True: in the user's cache folder); False:
    always compute. estimator: flow float32 [2, height, width] from one image to another, in place of `method`; it is
    not cached. Errors as for `estimate`.
    """
    if getattr(frames, "ndim", 0) != 4 or len(frames) == 0:
        raise InputError(f"frames must be uint8 [frame, height, width, 3] and not empty, not {list(np.shape(frames))}")
    _check_images(frames[0], frames[-1])
    pair = _estimator(method, preset) if estimator is None else estimator
    if estimator is None and cache is not False:
        store = FlowCache() if cache is True else cache
        pair = store.wrap(pair, f"{method}/{preset}/{_version(method)}")
    return _build_pair(
        [pair(a, b) for a, b in pairwise(frames)], [pair(b, a) for a, b in pairwise(frames)], frames.shape
    )


def consistent(flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Forward-backward consistency, bool [h, w]: |f + b(x + f)| <= 1 + 0.05 |f| px, with x + f inside the image, for
    flow and backward flow [2, h, w]."""
    _, height, width = flow.shape
    moved = np.moveaxis(flow, 0, -1).astype(np.float64)
    there = pixel_grid(height, width) + moved
    gap = np.linalg.norm(moved + bilinear(np.moveaxis(back, 0, -1).astype(np.float64), there), axis=-1)
    return inside(there, height, width) & (gap <= 1 + 0.05 * np.linalg.norm(moved, axis=-1))


def _build_pair(forward: list[np.ndarray], backward: list[np.ndarray], shape: tuple[int, ...]) -> FlowPair:
    _, height, width, _ = shape
    if not forward:
        flow, valid = np.zeros((0, 2, height, width), np.float32), np.zeros((0, height, width), bool)
        return FlowPair(flow, flow, valid, valid)
    pairs = list(zip(forward, backward, strict=True))
    there, back = [consistent(f, b) for f, b in pairs], [consistent(b, f) for f, b in pairs]
    return FlowPair(np.stack(forward), np.stack(backward), np.stack(there), np.stack(back))


def _estimator(method: str, preset: str) -> Pair:
    if method not in METHODS:
        raise unknown("flow method", str(method), METHODS)
    if preset not in PRESETS:
        raise unknown("flow preset", str(preset), PRESETS)
    if method == "raft":
        from .flow_raft import build_raft

        return build_raft()
    return _dis(preset)


def _dis(preset: str) -> Pair:
    import cv2

    dis = cv2.DISOpticalFlow.create(PRESETS[preset])

    def pair(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        height, width = first.shape[:2]
        gray = [_pad(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)) for image in (first, second)]
        flow = dis.calc(gray[0], gray[1], None)[:height, :width]
        return np.ascontiguousarray(np.moveaxis(flow, -1, 0), np.float32)

    return pair


def _pad(gray: np.ndarray) -> np.ndarray:
    height, width = gray.shape
    return np.pad(gray, ((0, max(0, _LEAST_SIDE - height)), (0, max(0, _LEAST_SIDE - width))), mode="edge")


def _version(method: str) -> str:
    """Version of the library that computes the flow, which is part of the cache key."""
    from importlib.metadata import version

    import cv2

    return cv2.__version__ if method == "dis" else version("torchvision")


def _check_images(first: np.ndarray, second: np.ndarray) -> None:
    for image in (first, second):
        shape: tuple[int, ...] = getattr(image, "shape", ())
        if getattr(image, "dtype", None) != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise InputError(
                f"flow needs images uint8 [height, width, 3], not {getattr(image, 'dtype', '?')} {list(shape)}"
            )
    if first.shape != second.shape:
        sizes = f"{first.shape[1]}x{first.shape[0]} and {second.shape[1]}x{second.shape[0]}"
        raise InputError(f"flow needs two images of the same size, not of {sizes}; resize one of them")
