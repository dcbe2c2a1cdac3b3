"""Flow as images: direction as hue, length as saturation, as in the colour code of Baker et al. (IJCV 2011)."""

from __future__ import annotations

import numpy as np

from videogen.core.errors import InputError

#: hues between the six main colours, red first, in the number of which the eye can separate them
_HUES = (("red", 15), ("yellow", 6), ("green", 4), ("cyan", 11), ("blue", 13), ("magenta", 6))
_CORNERS = {
    "red": (1, 0, 0), "yellow": (1, 1, 0), "green": (0, 1, 0), "cyan": (0, 1, 1), "blue": (0, 0, 1),
    "magenta": (1, 0, 1),
}  # fmt: skip


def draw_flow(flow: np.ndarray, largest_px: float | None = None) -> np.ndarray:
    """Images uint8 [n, h, w, 3] RGB of flow [n, 2, h, w] in px: white where nothing moves.

    largest_px: the length that is drawn in full colour; None: the 99 % quantile of all lengths, and at least 1 px.
    Longer flow is darker. InputError for another shape.
    """
    if flow.ndim != 4 or flow.shape[1] != 2:
        raise InputError(f"flow {list(flow.shape)} must be [n, 2, height, width]")
    length = np.linalg.norm(flow, axis=1)
    if largest_px is None:
        largest_px = max(1.0, float(np.quantile(length, 0.99)) if length.size else 1.0)
    length = length / largest_px
    wheel = _build_wheel()
    place = (np.arctan2(-flow[:, 1], -flow[:, 0]) / np.pi + 1) / 2 * len(wheel)
    before = np.floor(place).astype(int)
    weight = (place - before)[..., None]
    colour = wheel[before % len(wheel)] * (1 - weight) + wheel[(before + 1) % len(wheel)] * weight
    strength = length[..., None]
    drawn = np.where(strength <= 1, 1 - strength * (1 - colour), colour * 0.75)
    return np.rint(255 * drawn).astype(np.uint8)


def _build_wheel() -> np.ndarray:
    """float64 [hue, 3] in 0..1; the first hue is that of motion to the right."""
    names = [name for name, _ in _HUES]
    parts = []
    for index, (name, count) in enumerate(_HUES):
        here, there = (np.array(_CORNERS[one], float) for one in (name, names[(index + 1) % len(names)]))
        parts.append(here + (there - here) * (np.arange(count) / count)[:, None])
    return np.concatenate(parts)
