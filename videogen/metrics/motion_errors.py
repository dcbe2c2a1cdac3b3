"""How a clip moves, beside how it should: errors of flow and tracks, motion outside a mask, warping error, dynamic
degree.

Arrays in, figures out, no weights: flow float [n, 2, height, width] in px (dx, dy from each frame to the next), masks
bool [n, height, width]. Who measures the flow (DIS, say) reports its own floor beside: the same figure of flow measured
on a render of the plan.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from videogen.core.errors import InputError

_OUTLIER_PX = 3.0
_FASTEST_SHARE = 0.05  # VBench (Huang et al., CVPR 2024) judges a pair by its fastest 5 %


@dataclass(frozen=True)
class FlowError:
    """mean_px, median_px: end-point error; outliers: share beyond 3 px; angular_deg: mean angle between (dx, dy, 1) and
    the target's (Barron et al. 1994); share: of all pixels that were judged; floor_px: mean error of the measuring
    itself."""

    mean_px: float
    median_px: float
    outliers: float
    angular_deg: float
    share: float
    floor_px: float | None = None


@dataclass(frozen=True)
class TrackError:
    """mean_px, median_px: distance over all frames; final_px: mean distance at each track's last visible frame."""

    mean_px: float
    median_px: float
    final_px: float


@dataclass(frozen=True)
class DynamicDegree:
    """mean_px: mean motion a frame; fastest_px: mean over pairs of the fastest 5 %'s mean; share_of_diagonal:
    fastest_px over the picture's diagonal."""

    mean_px: float
    fastest_px: float
    share_of_diagonal: float


def end_point_error(
    flow: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None, *, reference: np.ndarray | None = None
) -> FlowError:
    """Error of flow against a target [n, 2, h, w], where `mask` [n, h, w] says so (None: everywhere).

    reference: flow measured the same way on a clip that moves just as the target says (a plan's preview); its error is
    the floor.
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
    flow: np.ndarray, things: np.ndarray, target: np.ndarray | None = None, *, reference: np.ndarray | None = None
) -> FlowError:
    """Error outside `things` (bool or coverage 0..1, [n, h, w]), against the target, or against rest where it is
    None."""
    outside = np.asarray(things) < 0.5 if np.asarray(things).dtype != bool else ~np.asarray(things)
    return end_point_error(flow, np.zeros_like(flow) if target is None else target, outside, reference=reference)


def track_error(tracks: np.ndarray, target: np.ndarray, visible: np.ndarray | None = None) -> TrackError:
    """Distance of tracks [n, frames, 2] from a target, px; visible: bool [n, frames], which to judge (None: all)."""
    if tracks.shape != target.shape or tracks.ndim != 3 or tracks.shape[2] != 2 or 0 in tracks.shape:
        raise InputError(
            f"tracks {list(tracks.shape)} and {list(target.shape)} cannot be compared; both need [n, frames, 2]"
        )
    seen = np.ones(tracks.shape[:2], bool) if visible is None else np.asarray(visible, bool)
    if seen.shape != tracks.shape[:2]:
        raise InputError(f"visible is {list(seen.shape)}, the tracks need {list(tracks.shape[:2])}")
    if not seen.any(1).all():
        raise InputError(f"track {int(np.argmin(seen.any(1)))} is visible in no frame; leave it out")
    distance = np.linalg.norm(tracks.astype(np.float64) - target, axis=-1)
    _check_finite("tracks", distance[seen])
    last = seen.shape[1] - 1 - np.argmax(seen[:, ::-1], axis=1)
    final = distance[np.arange(len(distance)), last]
    return TrackError(float(distance[seen].mean()), float(np.median(distance[seen])), float(final.mean()))


def dynamic_degree(flow: np.ndarray) -> DynamicDegree:
    """How much moves in flow [n, 2, h, w]."""
    check_flow(flow, flow)
    length = np.linalg.norm(flow, axis=1).reshape(len(flow), -1)
    count = max(1, round(_FASTEST_SHARE * length.shape[1]))
    fastest = float(np.sort(length, axis=1)[:, -count:].mean())
    return DynamicDegree(float(length.mean()), fastest, fastest / float(np.hypot(*flow.shape[2:])))


def _angles(flow: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Angle between (dx, dy, 1) vectors, radians [n, h, w]."""
    dot = 1 + (flow.astype(np.float64) * target).sum(1)
    lengths = np.sqrt((1 + (flow.astype(np.float64) ** 2).sum(1)) * (1 + (target.astype(np.float64) ** 2).sum(1)))
    return np.arccos(np.clip(dot / lengths, -1, 1))


def checked_mask(mask: np.ndarray | None, flow: np.ndarray) -> np.ndarray:
    """The mask bool [n, h, w] of flow [n, 2, h, w], all of it for None; InputError where it does not fit or is
    empty."""
    shape = (len(flow), *flow.shape[2:])
    if mask is None:
        return np.ones(shape, bool)
    if mask.shape != shape or mask.dtype != bool:
        raise InputError(
            f"the mask is {mask.dtype} {list(mask.shape)}, flow {list(flow.shape)} needs bool {list(shape)}"
        )
    if not mask.any():
        raise InputError("the mask is empty; there is nothing to judge")
    return mask


def check_flow(flow: np.ndarray, target: np.ndarray) -> None:
    """InputError where these are not two finite flows [n, 2, h, w] of one shape."""
    if flow.shape != target.shape or flow.ndim != 4 or flow.shape[1] != 2 or 0 in flow.shape:
        raise InputError(
            f"flows {list(flow.shape)} and {list(target.shape)} cannot be judged; both need [n, 2, height, width], not empty"
        )
    _check_finite("flow", flow)
    _check_finite("flow", target)


def _check_finite(name: str, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise InputError(f"{name} with {int((~np.isfinite(values)).sum())} NaN or infinite values cannot be judged")
