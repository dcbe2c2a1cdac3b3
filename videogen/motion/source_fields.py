"""Motion fields from driving videos, tracks and flow files: read, checked against the clip's length and size, and
scaled to it."""

from __future__ import annotations

import math
import os
import zipfile
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from videogen.core.errors import InputError
from videogen.core.rates import exact_fps
from videogen.media.fitting import centre_crop

from .flow import FlowPair, flow_both_ways
from .flow_files import FlowStack, check_flow, read_flow
from .flow_timing import resample_flow
from .interpolation import inside, resize_flow, resize_mask
from .layer import Field
from .sources import Flow, Tracks, Transfer
from .splines import TrackField
from .tracing import flow_field, invert

if TYPE_CHECKING:
    from .compiling import Clip

_ASPECT_TOLERANCE = 0.02


def build_field(part: Transfer | Tracks | Flow, clip: Clip) -> tuple[Field, np.ndarray | None]:
    """The motion field of a source, and its anchor points [n, 2] where it has some (tracks do)."""
    if isinstance(part, Transfer):
        return _field_from_video(part, clip), None
    if isinstance(part, Flow):
        return _field_from_flow(part, clip), None
    return _field_from_tracks(part, clip)


def _field_from_video(part: Transfer, clip: Clip) -> Field:
    if isinstance(part.video, FlowPair):
        return _field_from_pair(part.video, part, clip)
    frames, fps, times_s = _open_video(part.video, clip)
    if part.fit == "crop":
        frames = _centre_crop(frames, clip)
    if part.fit != "stretch":
        _check_aspect("the driving video", frames.shape[1], frames.shape[2], clip, "; or fit='crop' or 'stretch'")
    stretch = part.timing == "stretch"
    places = _spread(len(frames), clip) if stretch else _sampling_positions(len(frames), fps, times_s, clip)
    steps = np.diff(places)
    slow = bool((steps < 1).any())
    chosen = np.arange(math.ceil(places[-1]) + 1) if slow else np.floor(places + 0.5).astype(int)
    pair = flow_both_ways(frames[np.minimum(chosen, len(frames) - 1)])
    forward, backward, valid = pair.forward, pair.backward, pair.backward_valid
    if slow:  # frames of the clip lie between frames of the video
        weights = _step_weights(places)
        forward, backward = (
            np.stack([np.tensordot(row[row > 0], flow[row > 0], 1) for row in weights]) for flow in (forward, backward)
        )
        valid = np.stack([valid[row > 0].all(0) for row in weights])
    elif len(steps):
        weights = (steps / np.diff(chosen)).astype(np.float32)  # nearest frames represent the positions between them
        forward, backward = (flow * weights[:, None, None, None] for flow in (forward, backward))
    forward, backward = (resize_flow(flow, clip.height, clip.width) for flow in (forward, backward))
    return flow_field(forward, backward, resize_mask(valid, clip.height, clip.width))


def _field_from_pair(pair: FlowPair, part: Transfer, clip: Clip) -> Field:
    """As from a video, of flow that was measured between its frames."""
    count, (height, width) = len(pair.forward) + 1, pair.forward.shape[2:]
    rows, columns = centre_crop(height, width, clip.height, clip.width) if part.fit == "crop" else (slice(None),) * 2
    pair = FlowPair(*(getattr(pair, one.name)[..., rows, columns] for one in fields(FlowPair)))
    if part.fit != "stretch":
        height, width = pair.forward.shape[2:]
        _check_aspect("the driving video", height, width, clip, "; or fit='crop' or 'stretch'")
    places = _spread(count, clip) if part.timing == "stretch" else _sampling_positions(count, None, None, clip)
    forward, backward, valid = resample_flow(pair, places)
    forward, backward = (resize_flow(flow, clip.height, clip.width) for flow in (forward, backward))
    return flow_field(forward, backward, resize_mask(valid, clip.height, clip.width))


def _spread(count: int, clip: Clip) -> np.ndarray:
    """Positions of the clip's frames among `count` frames, from the first to the last."""
    return np.linspace(0, count - 1, clip.frames)


def _sampling_positions(count: int, fps: Fraction | float | None, times_s: np.ndarray | None, clip: Clip) -> np.ndarray:
    """Position of each frame of the clip among the `count` frames of a driving video: float64 [frames], from 0.

    By time where both rates are known, otherwise one to one. Where the video ends within the clip's last interval, its
    last frame is held, with a note. InputError where the video is shorter.
    """
    step = 1.0
    rate = None if fps is None else exact_fps(fps)
    if rate is None or clip.fps is None:
        places = np.arange(clip.frames, dtype=np.float64)
        problem = f"the driving video has {count} frames, the clip {clip.frames}"
    else:
        places = np.array([float(i * rate / clip.fps) for i in range(clip.frames)])
        step = max(1.0, float(rate / clip.fps))
        lengths = f"{count} frames at {float(rate):g} per second, the clip {clip.frames} at {float(clip.fps):g}"
        problem = f"the driving video has {lengths}, which needs {math.ceil(places[-1]) + 1} of them"
        if times_s is not None and count > 1:
            since = (times_s - times_s[0]) * float(rate)
            places = np.interp(places, since, np.arange(count)) + np.maximum(places - since[-1], 0)
    missing = places[-1] - (count - 1)
    if missing > step + 1e-6:
        raise InputError(f"{problem}; give a longer one or render fewer frames")
    if missing <= 0.5:
        return np.minimum(places, count - 1)
    clip.notes.append(f"{problem}: its last frame is held")
    return places


def _step_weights(places: np.ndarray) -> np.ndarray:
    """Overlap of each video step k to k + 1 with the interval between neighbouring positions [n]: float32 [n - 1,
    steps]."""
    steps = np.arange(math.ceil(places[-1]))
    ends, starts = (np.clip(limit[:, None] - steps, 0, 1) for limit in (places[1:], places[:-1]))
    return (ends - starts).astype(np.float32)


def _open_video(video: Any, clip: Clip) -> tuple[np.ndarray, Fraction | float | None, np.ndarray | None]:
    """Frames, frames per second and times of the frames, where known."""
    if isinstance(video, str | os.PathLike):
        if clip.read_video is None:
            raise InputError(
                f"there is no reader for {str(video)!r}; pass its frames, or "
                "compile_motion(..., read_video=videogen.Video.open)"
            )
        video = clip.read_video(video)
    frames = getattr(video, "frames", video)
    shape: tuple[int, ...] = getattr(frames, "shape", ())
    if getattr(frames, "dtype", None) != np.uint8 or len(shape) != 4 or shape[3] != 3:
        raise InputError(f"a driving video must be uint8 [frame, height, width, 3], not {list(shape)}")
    return frames, getattr(video, "fps", None), getattr(video, "times_s", None)


def _field_from_flow(part: Flow, clip: Clip) -> Field:
    array = part.file if isinstance(part.file, np.ndarray) else None
    stack = FlowStack(*check_flow(array)) if array is not None else read_flow(part.file)
    count, _, height, width = stack.flow.shape
    problem = f"{_source_name(part.file)} has {count} flow fields, {clip.frames} frames need {clip.frames - 1}"
    held = _holds_last_frame(count + 1, clip, f"{problem}; give more or render fewer frames", problem)
    _check_aspect(_source_name(part.file), height, width, clip)
    known = resize_mask(stack.valid[: clip.frames - 1], clip.height, clip.width)
    forward = resize_flow(np.where(stack.valid[:, None], stack.flow, 0)[: clip.frames - 1], clip.height, clip.width)
    backward, valid = invert(forward, known)
    if held:  # after inversion, which looks at the motion to the following frame
        forward, backward = (np.pad(flow, ((0, 1), (0, 0), (0, 0), (0, 0))) for flow in (forward, backward))
        valid = np.pad(valid, ((0, 1), (0, 0), (0, 0)), constant_values=True)
    return flow_field(forward, backward, valid)


def _field_from_tracks(part: Tracks, clip: Clip) -> tuple[Field, np.ndarray]:
    source = _source_name(part.file, "the array of tracks")
    tracks, visible, size = _read_tracks(part.file)
    size = size if part.size is None else np.asarray(part.size)
    fits = tracks.ndim == 3 and tracks.shape[2] == 2 and tracks.shape[1] > 0 and visible.shape == tracks.shape[:2]
    if not fits or not np.issubdtype(tracks.dtype, np.number):
        shapes = f"tracks {tracks.dtype} {list(tracks.shape)} and visibility {list(visible.shape)}"
        raise InputError(
            f"{source} has {shapes}; they must be [frame, point, 2] and [frame, point], with at least one point"
        )
    if part.timing == "stretch":
        tracks, visible = _resample_tracks(tracks, visible, _spread(len(tracks), clip))
    problem = f"{source} tracks {len(tracks)} frames, the clip has {clip.frames}"
    if _holds_last_frame(len(tracks), clip, f"{problem}; give longer tracks or render fewer frames", problem):
        tracks, visible = (np.concatenate([rows, rows[-1:]]) for rows in (tracks, visible))
    tracks, visible = tracks[: clip.frames].astype(np.float64), visible[: clip.frames].astype(bool)
    if not np.isfinite(tracks[visible]).all():
        raise InputError(f"{source} has NaN or infinite positions of visible points")
    if size is not None:
        _check_aspect(source, size[1], size[0], clip)
        tracks = tracks * (np.array([clip.width, clip.height]) / size)
    starts = tracks[0][visible[0]]
    if len(starts) and not inside(starts, clip.height, clip.width).any():
        x, y = starts[0]
        raise InputError(
            f"{source} begins at ({x:g}, {y:g}), and no point of it lies inside the {clip.width}x{clip.height} frame; "
            "give points in px of this frame, or the size of the video in which they were tracked"
        )
    for frame in range(clip.frames):
        if not (visible[0] & visible[frame]).any() or not (visible[frame] & visible[max(frame - 1, 0)]).any():
            raise InputError(
                f"{source} has no point that is visible at frame {frame} and at the first and the previous frame"
            )
    tracks = np.where(visible[..., None], tracks, 0.0)
    return TrackField(tracks, visible, clip.height, clip.width), tracks[0][visible[0]]


def _resample_tracks(tracks: np.ndarray, visible: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tracks [n, point, 2] and their visibility at positions [m] among their frames. A point between two frames is
    visible where it is in both."""
    before, after = np.floor(places).astype(int), np.ceil(places).astype(int)
    weights = (places - before)[:, None, None]
    return tracks[before] * (1 - weights) + tracks[after] * weights, visible[before] & visible[after]


def _holds_last_frame(count: int, clip: Clip, refusal: str, problem: str) -> bool:
    """Whether a source of `count` frames ends within the clip's last interval, so that its last frame is held, with a
    note as for a driving video. InputError where it is shorter."""
    if count < clip.frames - 1:
        raise InputError(refusal)
    if count == clip.frames - 1:
        clip.notes.append(f"{problem}: its last frame is held")
    return count == clip.frames - 1


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


def _centre_crop(frames: np.ndarray, clip: Clip) -> np.ndarray:
    """The largest part of frames [f, h, w, 3] around their centre that has the clip's aspect ratio."""
    rows, columns = centre_crop(frames.shape[1], frames.shape[2], clip.height, clip.width)
    return frames[:, rows, columns]


def _check_aspect(source: str, height: float, width: float, clip: Clip, remedy: str = "") -> None:
    if abs(width * clip.height / (height * clip.width) - 1) > _ASPECT_TOLERANCE:
        raise InputError(
            f"{source} is {width:g}x{height:g} and the clip {clip.width}x{clip.height}: the aspect ratio differs; "
            f"crop it to the clip's aspect ratio first{remedy}"
        )


def _source_name(file: Any, given: str = "the given array") -> str:
    return given if isinstance(file, np.ndarray) else str(file)
