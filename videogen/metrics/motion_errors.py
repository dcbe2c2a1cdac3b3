"""Motion errors of a clip against a target: errors of flow and tracks, motion outside a mask, dynamic degree.

No weights. Inputs: flow float [n, 2, height, width] in px (dx, dy from each frame to the next), masks bool [n, height,
width]. Measured flow (by DIS, for instance) has an error of its own: report next to it the floor, which is the same
error measured on a render of the plan.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from videogen.core.errors import InputError

_OUTLIER_PX = 3.0
_FASTEST_FRACTION = 0.05  # VBench (Huang et al., CVPR 2024) uses the fastest 5 % of a pair


@dataclass(frozen=True)
class FlowError:
    """mean_px, median_px: end-point error; outliers: fraction beyond 3 px; angular_deg: mean angle between (dx, dy, 1)
    and the target's (Barron et al. 1994); fraction: of all pixels that were evaluated; floor_px: mean error of the
    measurement itself."""

    mean_px: float
    median_px: float
    outliers: float
    angular_deg: float
    fraction: float
    floor_px: float | None = None


@dataclass(frozen=True)
class TrackError:
    """mean_px, median_px: distance over all frames; final_px: mean distance at each track's last visible frame."""

    mean_px: float
    median_px: float
    final_px: float


@dataclass(frozen=True)
class DynamicDegree:
    """mean_px: mean motion per frame; fastest_px: mean motion of the fastest 5 % of pixels, averaged over pairs;
    fraction_of_diagonal: fastest_px over the frame's diagonal."""

    mean_px: float
    fastest_px: float
    fraction_of_diagonal: float


def end_point_error(
    flow: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None, *, reference: np.ndarray | None = None
) -> FlowError:
    """Error of flow against a target [n, 2, h, w], within `mask` [n, h, w] (None: everywhere).

    reference: flow measured in the same way on a clip that moves exactly like the target (a plan's preview); its error
    is the floor.
    """
    check_flow(flow, target)
    chosen = checked_mask(mask, flow)
    distance = np.linalg.norm(flow - target, axis=1)[chosen]
    floor = None if reference is None else end_point_error(reference, target, mask).mean_px
    return FlowError(
        float(distance.mean()),
        float(np.median(distance)),
        float((distance > _OUTLIER_PX).mean()),
        float(np.rad2deg(_angles(flow, target)[chosen]).mean()),
        float(chosen.mean()),
        floor,
    )


def background_error(
    flow: np.ndarray, objects: np.ndarray, target: np.ndarray | None = None, *, reference: np.ndarray | None = None
) -> FlowError:
    """Error outside `objects` (bool or coverage 0..1, [n, h, w]), against the target, or against zero flow where it is
    None."""
    outside = np.asarray(objects) < 0.5 if np.asarray(objects).dtype != bool else ~np.asarray(objects)
    return end_point_error(flow, np.zeros_like(flow) if target is None else target, outside, reference=reference)


def track_error(tracks: np.ndarray, target: np.ndarray, visible: np.ndarray | None = None) -> TrackError:
    """Distance of tracks [n, frames, 2] from a target, px. visible: bool [n, frames], the positions to evaluate (None:
    all)."""
    if tracks.shape != target.shape or tracks.ndim != 3 or tracks.shape[2] != 2 or 0 in tracks.shape:
        raise InputError(
            f"tracks {list(tracks.shape)} and {list(target.shape)} cannot be compared; both need [n, frames, 2]"
        )
    chosen = np.ones(tracks.shape[:2], bool) if visible is None else np.asarray(visible, bool)
    if chosen.shape != tracks.shape[:2]:
        raise InputError(f"visible is {list(chosen.shape)}, the tracks need {list(tracks.shape[:2])}")
    if not chosen.any(1).all():
        raise InputError(f"track {int(np.argmin(chosen.any(1)))} is visible in no frame; leave it out")
    distance = np.linalg.norm(tracks.astype(np.float64) - target, axis=-1)
    _check_finite("tracks", distance[chosen])
    last = chosen.shape[1] - 1 - np.argmax(chosen[:, ::-1], axis=1)
    final = distance[np.arange(len(distance)), last]
    return TrackError(float(distance[chosen].mean()), float(np.median(distance[chosen])), float(final.mean()))


def dynamic_degree(flow: np.ndarray) -> DynamicDegree:
    """Amount of motion in flow [n, 2, h, w]."""
    check_flow(flow, flow)
    length = np.linalg.norm(flow, axis=1).reshape(len(flow), -1)
    count = max(1, round(_FASTEST_FRACTION * length.shape[1]))
    fastest = float(np.sort(length, axis=1)[:, -count:].mean())
    return DynamicDegree(float(length.mean()), fastest, fastest / float(np.hypot(*flow.shape[2:])))


def _angles(flow: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Angle between (dx, dy, 1) vectors, radians [n, h, w]."""
    dot = 1 + (flow.astype(np.float64) * target).sum(1)
    lengths = np.sqrt((1 + (flow.astype(np.float64) ** 2).sum(1)) * (1 + (target.astype(np.float64) ** 2).sum(1)))
    return np.arccos(np.clip(dot / lengths, -1, 1))


def checked_mask(mask: np.ndarray | None, flow: np.ndarray) -> np.ndarray:
    """The mask bool [n, h, w] for flow [n, 2, h, w], everywhere True for None; InputError where it does not fit or is
    empty."""
    shape = (len(flow), *flow.shape[2:])
    if mask is None:
        return np.ones(shape, bool)
    if mask.shape != shape or mask.dtype != bool:
        raise InputError(
            f"the mask is {mask.dtype} {list(mask.shape)}, flow {list(flow.shape)} needs bool {list(shape)}"
        )
    if not mask.any():
        raise InputError("the mask is empty; there is nothing to evaluate")
    return mask


def check_flow(flow: np.ndarray, target: np.ndarray) -> None:
    """InputError where these are not two finite flows [n, 2, h, w] of one shape."""
    if flow.shape != target.shape or flow.ndim != 4 or flow.shape[1] != 2 or 0 in flow.shape:
        raise InputError(
            f"flows {list(flow.shape)} and {list(target.shape)} cannot be compared; both need [n, 2, height, width], "
            "not "
            "empty"
        )
    _check_finite("flow", flow)
    _check_finite("flow", target)


def _check_finite(name: str, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise InputError(f"{name} with {int((~np.isfinite(values)).sum())} NaN or infinite values cannot be evaluated")
