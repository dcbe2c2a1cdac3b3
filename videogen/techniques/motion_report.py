"""Motion accuracy of a render: flow, tracks and background compared with the plan, with the measurement's error
floor."""

from __future__ import annotations

from typing import Any

import numpy as np

from videogen.metrics.motion_errors import background_error, dynamic_degree, end_point_error, track_error
from videogen.metrics.object_track import track_object
from videogen.metrics.registration import registered_camera
from videogen.motion import MotionPlan, estimate
from videogen.motion.interpolation import bilinear, inside
from videogen.motion.layer import GIVEN
from videogen.motion.objects import find_object

_PRESET = "fast"  # of DIS: resolves objects of 12 px, and takes a fifth of medium's time
_TRACKS = 16  # the largest number recorded in the manifest


def measure_motion(frames: np.ndarray, plan: MotionPlan) -> dict[str, Any]:
    """Figures in px for a clip uint8 [frame, height, width, 3] rendered under a plan of its size, which may be longer.

    error_px: mean end-point error of DIS flow in the controlled region; floor_px: the same error of DIS on a clip that
    moves exactly as planned; background_px: motion of the static background; track_px: mean distance from the plan's
    tracks, while both are inside the frame, of the objects that are found along them, and of points advected by the
    measured flow where the plan has no objects; final_px: the same at the end; camera: measured camera motion, where
    the plan moves the background and it has enough texture. Empty for a single frame.
    """
    plan = plan.shorten(len(frames))
    if plan.frames < 2:
        return {}
    flow, target = _flow(frames), plan.flow()
    floor = _flow(plan.preview(frames[0], arrows=False))
    controlled = np.stack([plan.mask_at(f) for f in range(plan.frames - 1)]) > 0.5
    result: dict[str, Any] = {"dynamic_px": round(dynamic_degree(flow).mean_px, 3)}
    if controlled.any():
        error = end_point_error(flow, target, controlled, reference=floor)
        result |= {"error_px": round(error.mean_px, 3), "floor_px": round(error.floor_px or 0.0, 3)}
    if not plan.layers[0].moves and not controlled.all():
        result["background_px"] = round(background_error(flow, controlled).mean_px, 3)
    if plan.layers[0].moves and (fit := registered_camera(frames, plan.masks()[0] > 0.5)) is not None:
        result["camera"] = {name: round(value, 3) for name, value in vars(fit).items()}
    return result | _measure_tracks(frames, flow, plan)


def _measure_tracks(frames: np.ndarray, flow: np.ndarray, plan: MotionPlan) -> dict[str, Any]:
    """Distance between the plan's tracks and the measured ones, while both are inside the frame."""
    tracks, objects = plan.tracks(), _find_objects(frames[0], plan)
    points = [k for k in range(len(tracks)) if k not in objects]
    followed = tracks.astype(np.float64)
    followed[points] = _advect(flow, tracks[points, 0])
    for track, found in objects.items():
        followed[track] = track_object(frames, *found)
    within = inside(tracks[:, 0], plan.height, plan.width)
    tracks, followed = tracks[within][:_TRACKS], followed[within][:_TRACKS]
    if not len(tracks):
        return {}
    visible = np.logical_and.accumulate(
        inside(tracks, plan.height, plan.width) & inside(followed, plan.height, plan.width), axis=1
    )
    distance = track_error(followed, tracks, visible)
    figures = {"track_px": round(distance.mean_px, 3), "final_px": round(distance.final_px, 3)}
    return figures | {"tracks": {"planned": _thin(tracks), "measured": _thin(followed)}}


def _find_objects(first: np.ndarray, plan: MotionPlan) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """(mask in the first frame, expected motion from there [frame, 3, 3]) of each track that is a rigid object's."""
    found, track = {}, 0
    for layer, visible in zip(plan.layers, plan.masks_at(0), strict=True):
        count = 0 if layer.anchors is None else len(layer.anchors)
        if count == 1 and layer.coverage is not None and layer.field is None:
            outline = None if layer.outline == GIVEN else find_object(first, visible)
            mask = visible > 0.5 if outline is None else outline
            if mask.any():
                found[track] = mask, layer.to_screen @ np.linalg.inv(layer.to_screen[0])
        track += count
    return found


def _flow(frames: np.ndarray) -> np.ndarray:
    return np.stack([estimate(frames[f], frames[f + 1], preset=_PRESET) for f in range(len(frames) - 1)])


def _advect(flow: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [n, 2] of the first frame advected by flow: [n, frames, 2]."""
    reached = [points.astype(np.float64)]
    for field in flow:
        reached.append(reached[-1] + bilinear(np.moveaxis(field, 0, -1).astype(np.float64), reached[-1]))
    return np.stack(reached, 1)


def _thin(tracks: np.ndarray) -> list[list[list[float]]]:
    """Every fourth position, rounded to a tenth of a px."""
    return np.round(tracks[:, ::4].astype(np.float64), 1).tolist()
