"""ComfyUI's types as inputs of motions: MASK, BOUNDING_BOX and TRACKS.

Their values are checked here, since ComfyUI checks none of a linked input: a message names what is wrong at the node.
"""

from __future__ import annotations

import functools
import operator
from typing import Any

import numpy as np
import torch

from videogen.core.errors import InputError
from videogen.motion import Motion, Tracks
from videogen.motion.compiling import check_order


def read_region(region: Any) -> Any:
    """The region of a motion: float32 [height, width] of a MASK, whose first frame counts, or (x0, y0, x1, y1) of a
    BOUNDING_BOX or the first of several. None for None."""
    if region is None:
        return None
    if isinstance(region, torch.Tensor):
        return _read_mask(region)
    while isinstance(region, list | tuple) and region:
        region = region[0]
    try:
        x, y, width, height = (float(region[side]) for side in ("x", "y", "width", "height"))
    except (TypeError, KeyError, IndexError):
        raise InputError(f"region={region!r} must be a MASK, or a BOUNDING_BOX with x, y, width and height") from None
    return x, y, x + width, y + height


def read_tracks(tracks: Any) -> np.ndarray:
    """float64 [frame, point, 2] in px of TRACKS, NaN where a point is not visible."""
    path = tracks.get("track_path") if isinstance(tracks, dict) else None
    shape = tuple(getattr(path, "shape", ()))
    if path is None or len(shape) != 3 or shape[2] != 2 or 0 in shape:
        raise InputError(
            f"tracks={list(shape)} must be TRACKS with a path [frame, point, 2]; use Generate Video Tracks"
        )
    points = np.asarray(path.double().cpu().numpy()).copy()
    visible = _read_visibility(tracks.get("track_visibility"), points)
    if not np.isfinite(points[visible]).all():
        raise InputError("tracks have NaN or infinite positions of visible points; give finite ones in px")
    points[~visible] = np.nan
    if not visible[0].any():
        raise InputError("tracks have no point that is visible in their first frame; a motion begins there")
    return points


def mean_path(points: np.ndarray) -> list[tuple[float, float]]:
    """The path (x, y) of several tracks [frame, point, 2] as one: the mean of the first frame's points, moved by the
    mean displacement of those that are visible. InputError for a frame with none of them."""
    first = np.isfinite(points).all(-1)[0]
    moved = points[:, first] - points[:1, first]
    missing = np.isnan(moved).all((1, 2))
    if missing.any():
        raise InputError(
            f"tracks have no point that is visible in frame {int(missing.argmax())} and in the first; give one that is"
        )
    path = points[0, first].mean(0) + np.nanmean(moved, axis=1)
    return [(float(x), float(y)) for x, y in path]


def tracked_motion(tracks: Any, region: Any = None, *, width: int = 0, height: int = 0) -> Tracks:
    """The motion of TRACKS, spread over the clip. width, height: of the frames in whose px they are; 0: the clip's."""
    if bool(width) != bool(height):
        raise InputError(f"width={width} and height={height} must both be given, or both be 0 for the clip's size")
    size = (float(width), float(height)) if width else None
    return Tracks(read_tracks(tracks), read_region(region), size=size, timing="stretch")


def combine_motions(*motions: Motion | None) -> Motion:
    """The sum of motions, lowest first, without those that are None. InputError for none, and for an order in which one
    replaces another."""
    given = [one for one in motions if one is not None]
    if not given:
        raise InputError("no motion is connected; connect at least one motion node")
    motion: Motion = functools.reduce(operator.add, given)
    check_order(motion)
    return motion


def _read_mask(mask: torch.Tensor) -> np.ndarray:
    if mask.ndim not in (2, 3) or 0 in mask.shape:
        raise InputError(f"region={list(mask.shape)} must be a MASK [height, width], with or without frames before it")
    first = (mask if mask.ndim == 2 else mask[0]).float()
    if not torch.isfinite(first).all():
        raise InputError("the mask has NaN or infinite values; look at it with Preview Mask")
    if not (first > 0.5).any():
        height, width = first.shape
        raise InputError(
            f"the mask of {width}x{height} px is empty; draw on the object that is to move (Load Image gives an empty "
            "mask for an image without transparency: use Open in MaskEditor)"
        )
    return np.asarray(first.clamp(0, 1).cpu().numpy())


def _read_visibility(given: Any, points: np.ndarray) -> np.ndarray:
    """bool [frame, point]; all are visible where nothing is stated."""
    frames, count, _ = points.shape
    if given is None:
        return np.ones((frames, count), bool)
    visible = np.asarray(given.cpu().numpy()) > 0
    if visible.ndim != 2 or visible.shape[0] != frames or visible.shape[1] not in (1, count):
        raise InputError(
            f"tracks have visibility {list(visible.shape)} for {frames} frames of {count} points; give a mask of "
            f"{frames} frames where they were made"
        )
    return np.broadcast_to(visible, (frames, count))
