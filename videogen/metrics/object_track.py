"""Track of an object through a clip, by its appearance in the first frame.

Optical flow cannot follow a point on a single-coloured object: inside it there is nothing to match, and a point that
slips off the object never returns. Here the entire object is searched for, near where it was.
"""

from __future__ import annotations

import numpy as np

from videogen.core.errors import InputError

_RIM_PX = 2  # around the object, so that its edge counts
_SEARCH = 0.25  # of the object's size: how far from the expected place it is searched for
_LEAST_SEARCH_PX = 4


def track_object(frames: np.ndarray, mask: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """The object's centre in each frame: float64 [f, 2] (x, y) in px, the centroid of its mask in the first.

    frames: uint8 [f, h, w, 3]; mask: [h, w], nonzero on the object in the first frame; maps: float64 [f, 3, 3], the
    expected motion from the first frame to each, by which the object turns and grows, and which says where to search:
    from the place in the frame before, by the expected step. InputError for an empty mask.
    """
    import cv2

    covered = (np.asarray(mask) > 0).astype(np.float32)
    if not covered.any():
        raise InputError("mask covers no pixel; it must be nonzero on the object in the first frame")
    ys, xs = np.nonzero(covered)
    centre = np.array([xs.mean(), ys.mean()]) + 0.5
    weights = cv2.dilate(covered, np.ones((2 * _RIM_PX + 1, 2 * _RIM_PX + 1), np.uint8))
    side = 2 * int(np.ceil(np.hypot(np.ptp(xs) + 1, np.ptp(ys) + 1) / 2)) + 2 * _RIM_PX
    expected = np.stack([_apply(matrix, centre) for matrix in maps])
    linear = np.stack([_linear_part(matrix, centre) for matrix in maps])
    linear = linear @ np.linalg.inv(linear[0])
    found = [centre]
    for frame in range(1, len(frames)):
        guess = found[-1] + expected[frame] - expected[frame - 1]
        size = max(4, int(np.ceil(side * np.sqrt(abs(np.linalg.det(linear[frame]))))))
        reach = max(_LEAST_SEARCH_PX, int(_SEARCH * size))
        template, opacity = (
            _cut(image, linear[frame], centre, size) for image in (frames[0].astype(np.float32), weights)
        )
        window = _cut(frames[frame].astype(np.float32), np.eye(2), guess, size + 2 * reach)
        found.append(guess + _best_offset(window, template, opacity, reach))
    return np.stack(found)


def _cut(image: np.ndarray, linear: np.ndarray, centre: np.ndarray, size: int) -> np.ndarray:
    """A square of `size` px of an image whose centre is `centre`, enlarged and turned by `linear` [2, 2]."""
    import cv2

    back = np.linalg.inv(linear)
    shift = centre - back @ np.array([size / 2, size / 2])
    # OpenCV counts from the first pixel's centre
    matrix = np.column_stack([back, shift + back @ np.array([0.5, 0.5]) - 0.5])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _best_offset(window: np.ndarray, template: np.ndarray, opacity: np.ndarray, reach: int) -> np.ndarray:
    """(x, y) of the best match of a template in a window that is `reach` px larger on each side, from its middle."""
    import cv2

    weights = np.repeat(np.clip(opacity, 0, 1)[..., None], 3, -1)
    cost = cv2.matchTemplate(window, template, cv2.TM_SQDIFF, mask=weights).astype(np.float64)
    y, x = np.unravel_index(int(cost.argmin()), cost.shape)
    return np.array([x + _parabola(cost[y, :], int(x)) - reach, y + _parabola(cost[:, x], int(y)) - reach])


def _parabola(values: np.ndarray, at: int) -> float:
    """Position of the minimum near values[at], relative to it: -0.5 to 0.5; 0 at an end."""
    if not 0 < at < len(values) - 1:
        return 0.0
    before, here, after = values[at - 1 : at + 2]
    curvature = before - 2 * here + after
    return float(np.clip(0.5 * (before - after) / curvature, -0.5, 0.5)) if curvature > 0 else 0.0


def _apply(matrix: np.ndarray, point: np.ndarray) -> np.ndarray:
    mapped = matrix @ np.array([*point, 1.0])
    return np.asarray(mapped[:2] / mapped[2])


def _linear_part(matrix: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Derivative [2, 2] of a homography at a point."""
    step = 0.5
    columns = [
        (_apply(matrix, point + offset) - _apply(matrix, point - offset)) / (2 * step)
        for offset in (np.array([step, 0.0]), np.array([0.0, step]))
    ]
    return np.column_stack(columns)
