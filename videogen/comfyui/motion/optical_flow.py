"""Optical flow in ComfyUI: by the library's methods, or by an OPTICAL_FLOW model that ComfyUI loaded."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from videogen.core.errors import InputError
from videogen.motion import FlowPair, flow_both_ways
from videogen.motion.flow import estimate
from videogen.motion.flow_raft import estimate_by

from ..images import to_frames

#: name of a method at the node -> preset of DIS
METHODS = {"fine": "fast", "smooth": "medium", "quick": "ultrafast"}


def measure_flow(frames: np.ndarray, method: str, model: Any, on_pair: Callable[[int], None]) -> FlowPair:
    """Flow between the frames of a clip uint8 [frame, height, width, 3], both ways.

    method: of `METHODS`; model: OPTICAL_FLOW, used in place of a method; on_pair: called with the number of pairs done,
    and may raise. InputError for an unknown method, and fewer than two frames.
    """
    if len(frames) < 2:
        raise InputError(f"images={len(frames)} frame: motion needs at least two; give the frames of a video")
    if method not in METHODS:
        raise InputError(f"method={method!r} is unknown: use {', '.join(METHODS)}")
    pair = _estimator(method) if model is None else _load(model)
    done = 0

    def watched(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        nonlocal done
        flow = pair(first, second)
        done += 1
        on_pair(done)
        return flow

    return flow_both_ways(frames, estimator=watched)


def read_driving_video(video: Any, fps: float) -> Any:
    """What `Transfer` takes, of an IMAGE, a VIDEO or the FLOW of Optical Flow.

    fps: of the clip; a VIDEO keeps its pace at this rate, with 0 its frames are used one by one.
    """
    if not 0 <= fps <= 1000:  # so is NaN
        raise InputError(f"fps={fps} must be from 0 to 1000; 0 uses the frames one by one")
    if isinstance(video, FlowPair):
        return video
    if not hasattr(video, "get_components"):
        frames, rate = to_frames(video, "video"), None
    else:
        parts = video.get_components()
        frames, rate = to_frames(parts.images, "video"), Fraction(parts.frame_rate)
    if len(frames) < 2:
        raise InputError("video has a single frame, in which nothing moves; give a video with at least two")
    return frames if rate is None or not fps else _keep_pace(frames, rate, fps)


def _keep_pace(frames: np.ndarray, rate: Fraction, fps: float) -> np.ndarray:
    """The frames nearest in time to those of a clip with `fps`, for as long as the video lasts."""
    step = float(rate) / fps
    places = np.floor(np.arange(int((len(frames) - 1) / step + 1e-6) + 1) * step + 0.5).astype(int)
    return frames[np.minimum(places, len(frames) - 1)]


def _estimator(method: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda first, second: estimate(first, second, preset=METHODS[method])


def _load(model: Any) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """ComfyUI's OPTICAL_FLOW on its device: a ModelPatcher around RAFT."""
    import comfy.model_management as management

    management.load_model_gpu(model)
    return estimate_by(model.model.eval(), model.load_device)
