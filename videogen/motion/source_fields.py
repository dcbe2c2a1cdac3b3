"""Driving clips, tracks and flow files as fields over a clip: read, checked against its length and size, scaled to
it."""

from __future__ import annotations

import math
import os
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from videogen.core.errors import InputError
from videogen.core.rates import exact_fps

from .flow import flow_both_ways
from .flow_files import FlowStack, check_flow, read_flow
from .interpolation import resize_flow, resize_mask
from .layer import Field
from .sources import Flow, Tracks, Transfer
from .splines import TrackField
from .tracing import flow_field, invert

if TYPE_CHECKING:
    from .compiling import Clip

_SHAPE_TOLERANCE = 0.02


def field_of(part: Transfer | Tracks | Flow, clip: Clip) -> tuple[Field, np.ndarray | None]:
    """The field of a source, and the points [n, 2] that stand for it (tracks have their own)."""
    if isinstance(part, Transfer):
        return _of_clip(part, clip), None
    if isinstance(part, Flow):
        return _of_flow(part, clip), None
    return _of_tracks(part, clip)


def _of_clip(part: Transfer, clip: Clip) -> Field:
    frames, fps, times_s = _opened(part.video, clip)
    _check_shape("the driving video", frames.shape[1], frames.shape[2], clip)
    places = _places(len(frames), fps, times_s, clip)
    steps = np.diff(places)
    slow = bool((steps < 1).any())
    chosen = np.arange(math.ceil(places[-1]) + 1) if slow else np.floor(places + 0.5).astype(int)
    pair = flow_both_ways(frames[chosen])
    forward, backward, valid = pair.forward, pair.backward, pair.backward_valid
    if slow:  # a frame of the clip lies between two of the video's
        shares = _shares(places)
        forward, backward = (
            np.stack([np.tensordot(row[row > 0], flow[row > 0], 1) for row in shares]) for flow in (forward, backward)
        )
        valid = np.stack([valid[row > 0].all(0) for row in shares])
    elif len(steps):
        shares = (steps / np.diff(chosen)).astype(np.float32)  # whole frames stand for the places between them
        forward, backward = (flow * shares[:, None, None, None] for flow in (forward, backward))
    forward, backward = (resize_flow(flow, clip.height, clip.width) for flow in (forward, backward))
    return flow_field(forward, backward, resize_mask(valid, clip.height, clip.width))


def _places(count: int, fps: Fraction | float | None, times_s: np.ndarray | None, clip: Clip) -> np.ndarray:
    """Where each of the clip's frames lies among the `count` of a driving video: float64 [frames], from 0 on.

    By time where both rates are known, else frame by frame. InputError where the video ends too soon.
    """
    rate = None if fps is None else exact_fps(fps)
    if rate is None or clip.fps is None:
        places, told = (
            np.arange(clip.frames, dtype=np.float64),
            f"the driving video has {count} frames, the clip {clip.frames}",
        )
    else:
        places = np.array([float(i * rate / clip.fps) for i in range(clip.frames)])
        lasts = f"{count} frames at {float(rate):g} a second, the clip {clip.frames} at {float(clip.fps):g}"
        told = f"the driving video has {lasts}, which takes {math.ceil(places[-1]) + 1} of them"
        if times_s is not None and count > 1:
            since = (times_s - times_s[0]) * float(rate)
            over = places[-1] > since[-1]
            places = np.full_like(places, count) if over else np.interp(places, since, np.arange(count))
    if math.ceil(places[-1] - 0.5) > count - 1:
        raise InputError(f"{told}; give a longer one or render fewer frames")
    return np.minimum(places, count - 1)


def _shares(places: np.ndarray) -> np.ndarray:
    """How much of each whole step k to k + 1 lies between a place and the next, for places [n]: float32 [n - 1,
    steps]."""
    steps = np.arange(math.ceil(places[-1]))
    ends, starts = (np.clip(limit[:, None] - steps, 0, 1) for limit in (places[1:], places[:-1]))
    return (ends - starts).astype(np.float32)


def _opened(video: Any, clip: Clip) -> tuple[np.ndarray, Fraction | float | None, np.ndarray | None]:
    """Frames, how many there are a second and each one's time, where known."""
    if isinstance(video, str | os.PathLike):
        if clip.read_video is None:
            raise InputError(
                f"nothing here reads {str(video)!r}; pass its frames, or compile_motion(..., read_video=videogen.Video.open)"
            )
        video = clip.read_video(video)
    frames = getattr(video, "frames", video)
    shape: tuple[int, ...] = getattr(frames, "shape", ())
    if getattr(frames, "dtype", None) != np.uint8 or len(shape) != 4 or shape[3] != 3:
        raise InputError(f"a driving video must be uint8 [frame, height, width, 3], not {list(shape)}")
    return frames, getattr(video, "fps", None), getattr(video, "times_s", None)


def _of_flow(part: Flow, clip: Clip) -> Field:
    array = part.file if isinstance(part.file, np.ndarray) else None
    stack = FlowStack(*check_flow(array)) if array is not None else read_flow(part.file)
    count, _, height, width = stack.flow.shape
    if count < clip.frames - 1:
        raise InputError(f"{_told(part.file)} has {count} flow fields, {clip.frames} frames need {clip.frames - 1}")
    _check_shape(_told(part.file), height, width, clip)
    known = resize_mask(stack.valid[: clip.frames - 1], clip.height, clip.width)
    forward = resize_flow(np.where(stack.valid[:, None], stack.flow, 0)[: clip.frames - 1], clip.height, clip.width)
    return flow_field(forward, *invert(forward, known))


def _of_tracks(part: Tracks, clip: Clip) -> tuple[Field, np.ndarray]:
    told = _told(part.file)
    tracks, visible, size = _read_tracks(part.file)
    fits = tracks.ndim == 3 and tracks.shape[2] == 2 and tracks.shape[1] > 0 and visible.shape == tracks.shape[:2]
    if not fits or not np.issubdtype(tracks.dtype, np.number):
        shapes = f"tracks {tracks.dtype} {list(tracks.shape)} and visibility {list(visible.shape)}"
        raise InputError(
            f"{told} holds {shapes}; they are [frame, point, 2] and [frame, point], with at least one point"
        )
    if len(tracks) < clip.frames:
        raise InputError(
            f"{told} tracks {len(tracks)} frames, the clip has {clip.frames}; give longer tracks or render fewer frames"
        )
    tracks, visible = tracks[: clip.frames].astype(np.float64), visible[: clip.frames].astype(bool)
    if not np.isfinite(tracks[visible]).all():
        raise InputError(f"{told} holds NaN or infinite positions of visible points")
    if size is not None:
        _check_shape(told, size[1], size[0], clip)
        tracks = tracks * (np.array([clip.width, clip.height]) / size)
    for frame in range(clip.frames):
        if not (visible[0] & visible[frame]).any() or not (visible[frame] & visible[max(frame - 1, 0)]).any():
            raise InputError(
                f"{told} has no point that is visible at frame {frame} and at the first and the previous frame"
            )
    tracks = np.where(visible[..., None], tracks, 0.0)
    return TrackField(tracks, visible, clip.height, clip.width), tracks[0][visible[0]]


def _read_tracks(file: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    if isinstance(file, np.ndarray):
        return file, np.asarray(np.isfinite(file).all(-1)), None
    try:
        with np.load(Path(file), allow_pickle=False) as archive:
            tracks = archive["tracks"]
            visible = archive["visibility"] if "visibility" in archive else np.ones(tracks.shape[:2], bool)
            size = np.asarray(archive["size"], np.float64).reshape(2) if "size" in archive else None
    except KeyError as error:
        raise InputError(
            f"{file} has no 'tracks'; it is an .npz with tracks [frame, point, 2] and visibility [frame, point]"
        ) from error
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"cannot read tracks from {str(file)!r}: {error}") from error
    return tracks, visible, size


def _check_shape(told: str, height: float, width: float, clip: Clip) -> None:
    if abs(width * clip.height / (height * clip.width) - 1) > _SHAPE_TOLERANCE:
        raise InputError(
            f"{told} is {width:g}x{height:g}, the clip {clip.width}x{clip.height}: another shape; crop it to the clip's shape first"
        )


def _told(file: Any) -> str:
    return "the given array" if isinstance(file, np.ndarray) else str(file)
