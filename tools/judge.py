"""Classical judge of generated clips: colour, shape and motion of the object, without a network.

Segments the object by its distance to the world's palette and to the frame's border, matches its outline with the
world's shapes over all angles, and fits its track, size and angle over time. One object per clip; `evaluate_embedded`
validates it on the world's own clips before it judges those of a model.
Legend: f frame, h height, w width; lengths in px of a 64 px frame, times in world frames (16 per second).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tools.world.render import SIGNED_DISTANCE
from tools.world.scene import COLOURS

_FOLD = {"square": 4, "triangle": 3, "star": 5}  # rotational symmetry of the outline
_AREA_PER_SQUARE_RADIUS = {"ball": np.pi, "square": 1.72**2, "triangle": 3 * 3**0.5 * 0.62**2}
# Thresholds above which a motion counts as present. The world's slowest motions are at about twice these.
_BEND_PX, _TRAVEL_PX, _SCALE_LOG, _TURN_RAD = 1.5, 6.0, 0.22, np.deg2rad(35)


@dataclass(frozen=True)
class Verdict:
    """The judge's findings; None if it found no object. `measured` has the figures behind the decision."""

    colour: str | None
    shape: str | None
    motion: str | None
    measured: dict[str, float]


@dataclass(frozen=True)
class ObjectTracks:
    """Positions of the object: centres [f, 2] in px of the clip, coverage [f, h, w] in 0..1."""

    centres: np.ndarray
    coverage: np.ndarray


def object_tracks(frames: np.ndarray) -> ObjectTracks | None:
    """The object of a clip uint8 [f, h, w, 3], frame by frame; None unless one is visible throughout."""
    found = _segment(frames.astype(np.float32))
    if found is None:
        return None
    coverage = found[1]
    return ObjectTracks(_centres(coverage, coverage.sum((1, 2))), coverage)


def object_colour(frames: np.ndarray) -> str | None:
    """The object's colour in frames uint8 [f, h, w, 3], of which one is enough; None if none is visible."""
    found = _segment(frames.astype(np.float32))
    return None if found is None else found[0]


def judge(frames: np.ndarray, *, stride: float = 1) -> Verdict:
    """Judge a clip: frames uint8 [f, h, w, 3], one per `stride` world frames."""
    frames = frames.astype(np.float32)
    found = _segment(frames)
    if found is None:
        return Verdict(None, None, None, {})
    colour, coverage = found
    area = coverage.sum((1, 2))
    centre = _centres(coverage, area)
    shape, overlap = _shape(coverage, area, centre)
    motion, measured = _motion(coverage, area, centre, shape, stride)
    return Verdict(colour, shape, motion, {"overlap": overlap, **measured})


def _segment(frames: np.ndarray) -> tuple[str, np.ndarray] | None:
    """The object's colour name and its coverage [f, h, w] in 0..1."""
    edges = (frames[:, :3], frames[:, -3:], frames[:, :, :3], frames[:, :, -3:])
    border = np.concatenate([edge.reshape(-1, 3) for edge in edges])
    grounds = np.percentile(border, (15, 50, 85), axis=0)
    names, palette = list(COLOURS), np.asarray(list(COLOURS.values()), np.float32)
    to_ground = _nearest(frames, grounds)[0]
    distance, index = _nearest(frames, palette)
    inside = distance < 0.7 * to_ground
    if inside.sum((1, 2)).mean() < 12:
        return None
    commonest = np.bincount(index[inside], minlength=len(names)).argmax()
    colour = np.median(frames[inside & (index == commonest)], 0)
    name = names[int(np.square(palette - colour).sum(-1).argmin())]
    ground = grounds[1].astype(np.float32)
    along = ((frames - ground) @ (colour - ground)) / max(1.0, float(np.square(colour - ground).sum()))
    near = np.square(frames - colour).sum(-1) ** 0.5 < 1.6 * to_ground + 30
    coverage = np.clip((along - 0.25) / 0.6, 0, 1) * near
    return (name, coverage) if (coverage.sum((1, 2)) >= 8).all() else None


def _nearest(frames: np.ndarray, colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    distances = np.stack([np.square(frames - colour).sum(-1) for colour in np.asarray(colours, np.float32)], -1)
    return np.sqrt(distances.min(-1)), distances.argmin(-1)


def _grid(coverage: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ys, xs = np.mgrid[0 : coverage.shape[1], 0 : coverage.shape[2]] + 0.5
    return xs, ys


def _centres(coverage: np.ndarray, area: np.ndarray) -> np.ndarray:
    xs, ys = _grid(coverage)
    return np.stack([(coverage * xs).sum((1, 2)) / area, (coverage * ys).sum((1, 2)) / area], -1)


@lru_cache(maxsize=1)
def _star_area() -> float:
    axis = np.linspace(-2, 2, 801)
    u, v = np.meshgrid(axis, axis)
    return float((SIGNED_DISTANCE["star"](u, v, 1.0) < 0).mean() * 16)


def _shape(coverage: np.ndarray, area: np.ndarray, centre: np.ndarray) -> tuple[str, float]:
    """The outline that overlaps best (mean soft IoU over up to 9 frames, best angle each)."""
    xs, ys = _grid(coverage)
    chosen = np.unique(np.linspace(0, len(coverage) - 1, 9).round().astype(int))
    scores = dict.fromkeys(SIGNED_DISTANCE, 0.0)
    for f in chosen:
        dx, dy = xs - centre[f, 0], ys - centre[f, 1]
        for shape, signed_distance in SIGNED_DISTANCE.items():
            radius = float(np.sqrt(area[f] / _AREA_PER_SQUARE_RADIUS.get(shape, _star_area())))
            fold = _FOLD.get(shape, 0)
            angles = np.arange(12) / 12 * 2 * np.pi / fold if fold else (0.0,)
            best = 0.0
            for a in angles:
                u, v = np.cos(a) * dx + np.sin(a) * dy, -np.sin(a) * dx + np.cos(a) * dy
                ideal = np.clip(0.5 - signed_distance(u, v, radius), 0, 1)
                best = max(best, float(np.minimum(ideal, coverage[f]).sum() / np.maximum(ideal, coverage[f]).sum()))
            scores[shape] += best / len(chosen)
    shape = max(scores, key=lambda name: scores[name])
    return shape, scores[shape]


def _motion(
    coverage: np.ndarray, area: np.ndarray, centre: np.ndarray, shape: str, stride: float
) -> tuple[str, dict[str, float]]:
    time = np.arange(len(area)) * stride
    unit, span = 64 / coverage.shape[2], float(time[-1] - time[0] or 1)
    track = centre * unit
    slope, bend = _line(time, track)
    travel = slope * span
    growth = float(_line(time, 0.5 * np.log(area)[:, None])[0][0] * span)
    turn = _turn(coverage, centre, shape, time) * span
    # Growth also moves the centre of a cropped object, while travel changes no size: the strongest sign wins.
    strength = {
        "travel": float(np.abs(travel).max()) / _TRAVEL_PX,
        "growth": abs(growth) / _SCALE_LOG,
        "turn": abs(turn) / _TURN_RAD,
    }
    measured = {"travel_x_px": float(travel[0]), "travel_y_px": float(travel[1]), "bend_px": bend,
                "growth_log": growth, "turn_rad": turn}  # fmt: skip
    strongest = max(strength, key=lambda sign: strength[sign])
    if bend > _BEND_PX and strength["growth"] < 2:
        return "moves in a circle", measured
    if strength[strongest] < 1:
        return "stays still", measured
    if strongest == "growth":
        return ("grows" if growth > 0 else "shrinks"), measured
    if strongest == "turn":
        return "spins", measured
    if abs(travel[0]) >= abs(travel[1]):
        return ("moves right" if travel[0] > 0 else "moves left"), measured
    return ("moves down" if travel[1] > 0 else "moves up"), measured


def _line(time: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, float]:
    """Least-squares slope of each column, and the RMS residual of the line."""
    centred = time - time.mean()
    slope = centred @ values / max(1e-9, float(centred @ centred))
    rest = values - values.mean(0) - centred[:, None] * slope
    return slope, float(np.sqrt(np.square(rest).sum(-1).mean()))


def _turn(coverage: np.ndarray, centre: np.ndarray, shape: str, time: np.ndarray) -> float:
    """Angular speed in radians per frame, from the phase of the outline's rotational symmetry."""
    fold = _FOLD.get(shape)
    if fold is None:
        return 0.0
    xs, ys = _grid(coverage)
    z = (xs - centre[:, 0, None, None]) + 1j * (ys - centre[:, 1, None, None])
    moment = (coverage * np.abs(z) ** 3 * np.exp(1j * fold * np.angle(z))).sum((1, 2))
    phase = np.unwrap(np.angle(moment)) / fold
    return float(_line(time, phase[:, None])[0][0])
