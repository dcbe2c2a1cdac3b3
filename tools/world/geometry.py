"""Motion of objects and camera: every layer of a clip has an exact similarity map from its own plane to the screen.

`screen = scale * R(angle) @ plane + offset`, one (scale, angle, x, y) per frame; pixel centres at integer + 0.5,
x right, y down. Masks, tracks and optical flow all follow from these maps.
Legend: f frame, h height, w width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .scene import DRIFTS, SPEEDS, WANDERS, Scene, Thing

CLIP_FRAMES = 33  # the length that motions are planned for: nothing leaves the frame within it
PERIODIC = ("moves in a circle", "spins")  # motions that never leave the frame
_UNIT = 64.0  # lengths below are for a frame of 64 px and scale with the frame


@dataclass(frozen=True)
class LayerMap:
    """Similarity from a layer's plane to the screen: arrays [f] (`angle` in radians, `x`, `y` in px)."""

    scale: np.ndarray
    angle: np.ndarray
    x: np.ndarray
    y: np.ndarray

    def to_plane(self, index: int | slice, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Screen points to plane points, for one frame or (with a slice) for [f, ...] of them."""
        s, a, x, y = (self._at(v, index, xs.ndim) for v in (self.scale, self.angle, self.x, self.y))
        dx, dy = (xs - x) / s, (ys - y) / s
        return np.cos(a) * dx + np.sin(a) * dy, -np.sin(a) * dx + np.cos(a) * dy

    def to_screen(self, index: int, us: np.ndarray, vs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        s, a = self.scale[index], self.angle[index]
        return (
            s * (np.cos(a) * us - np.sin(a) * vs) + self.x[index],
            s * (np.sin(a) * us + np.cos(a) * vs) + self.y[index],
        )

    @staticmethod
    def _at(values: np.ndarray, index: int | slice, ndim: int) -> np.ndarray:
        chosen = values[index]
        return chosen.reshape(-1, *[1] * (ndim - 1)) if isinstance(index, slice) else chosen


def layer_maps(
    scene: Scene, frames: int, size: int, stride: float = 1, start: float = 0, endless: bool = False
) -> tuple[LayerMap, list[LayerMap]]:
    """The background's map and one per object, at world frames start, start + stride, ... (16 per second).

    endless: motions reverse at the end of a clip's time and again at its start, so that clips can have any length.
    """
    time = start + stride * np.arange(frames, dtype=np.float64)
    unit = size / _UNIT
    moving_time = reflected_time(time) if endless else time
    drifts = scene.camera == DRIFTS
    camera = (
        _drift_map(scene, moving_time, size, unit) if drifts else _camera_map(scene.camera, moving_time, size, unit)
    )
    things = []
    for index, thing in enumerate(scene.things):
        rng = np.random.default_rng((scene.seed, 2, index))
        thing_time = time if thing.motion in PERIODIC else moving_time
        things.append(_compose(camera, _thing_map(thing, rng, thing_time, unit, index, len(scene.things)), size))
    return camera, things


def maps_of_change(
    before: Scene, after: Scene, frames: int, size: int, *, at: int, stride: float = 1, start: int = 0
) -> tuple[LayerMap, list[LayerMap]]:
    """As `layer_maps` of an endless world that is `before` up to frame `at` and then `after`: objects continue from
    where they are.

    after: the same scene except for its objects' colours and motions; at: 1 to frames - 1.
    """
    camera, things = layer_maps(before, frames, size, stride, start, endless=True)
    still_before, still_after = replace(before, camera=None), replace(after, camera=None)
    change, left = start + stride * at, frames - at
    for index, (was, now) in enumerate(zip(before.things, after.things, strict=True)):
        if (was.motion, was.speed) == (now.motion, now.speed):
            continue
        here = layer_maps(still_before, 1, size, 1, change, True)[1][index]
        there = layer_maps(still_after, CLIP_FRAMES, size)[1][index]
        distance = np.hypot(there.x - here.x, there.y - here.y) * _UNIT / size
        distance += 30 * np.abs(np.log(there.scale / here.scale))
        begin = int(np.argmin(distance))
        own = layer_maps(still_after, left, size, stride, begin, True)[1][index]
        moved = LayerMap(
            own.scale / own.scale[0] * here.scale, own.angle - own.angle[0] + here.angle,
            own.x - own.x[0] + here.x, own.y - own.y[0] + here.y,
        )  # fmt: skip
        visible = _compose(
            LayerMap(*(v[at:] for v in (camera.scale, camera.angle, camera.x, camera.y))), _centred(moved, size), size
        )
        for name in ("scale", "angle", "x", "y"):
            getattr(things[index], name)[at:] = getattr(visible, name)
    return camera, things


def reflected_time(time: np.ndarray) -> np.ndarray:
    """World time that reverses at the end of a clip's time, and again at its start."""
    end = CLIP_FRAMES - 1
    return end - np.abs(time % (2 * end) - end)


def radius_px(scene: Scene, index: int, size: int) -> float:
    """Radius of an object at scale 1, in px."""
    rng = np.random.default_rng((scene.seed, 3, index))
    low, high = (8.0, 9.5) if len(scene.things) > 1 else (10.5, 13.0)
    return float(rng.uniform(low, high)) * size / _UNIT


def flow(scene: Scene, frames: int, size: int, stride: float = 1) -> np.ndarray:
    """Exact optical flow [frames - 1, 2, size, size] (dx, dy in px) from each frame to the next, of visible layers."""
    from .render import render

    masks = render(scene, frames, size, stride=stride).masks
    background, things = layer_maps(scene, frames, size, stride)
    ys, xs = np.mgrid[0:size, 0:size] + 0.5
    result = np.empty((frames - 1, 2, size, size), np.float32)
    for f in range(frames - 1):
        for layer, mask in [(background, np.ones((size, size))), *zip(things, masks[:, f], strict=True)]:
            x1, y1 = layer.to_screen(f + 1, *layer.to_plane(f, xs, ys))
            visible = mask > 0.5
            result[f, 0][visible], result[f, 1][visible] = (x1 - xs)[visible], (y1 - ys)[visible]
    return result


def _camera_map(camera: str | None, time: np.ndarray, size: int, unit: float) -> LayerMap:
    still = np.zeros_like(time)
    x = y = np.full_like(time, size / 2)
    scale = np.ones_like(time)
    travel = 0.45 * unit * (time - CLIP_FRAMES / 2)
    if camera == "pans left":
        x = x + travel
    elif camera == "pans right":
        x = x - travel
    elif camera == "pans up":
        y = y + travel
    elif camera == "pans down":
        y = y - travel
    elif camera == "zooms in":
        scale = np.exp(0.014 * (time - CLIP_FRAMES / 2))
    elif camera == "zooms out":
        scale = np.exp(-0.014 * (time - CLIP_FRAMES / 2))
    return LayerMap(scale, still, x, y)


def _drift_map(scene: Scene, time: np.ndarray, size: int, unit: float) -> LayerMap:
    """A pan in any direction, and in half of the clips a zoom."""
    rng = np.random.default_rng((scene.seed, 6))
    angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.6) * unit
    zoom = rng.uniform(-0.016, 0.016) if rng.random() < 0.5 else 0.0
    since = time - CLIP_FRAMES / 2
    centre = size / 2
    return LayerMap(
        np.exp(zoom * since),
        np.zeros_like(time),
        centre + speed * np.cos(angle) * since,
        centre + speed * np.sin(angle) * since,
    )


def _wander_map(rng: np.random.Generator, time: np.ndarray, unit: float, index: int, count: int) -> LayerMap:
    """A curve between two random positions at constant or eased speed, in a third of the clips each with some growth
    or rotation."""
    progress = np.clip(time / (CLIP_FRAMES - 1), 0, 1)
    if rng.random() < 0.4:
        progress = progress * progress * (3 - 2 * progress)
    home = np.array([0.0 if count == 1 else (-15.0 if index == 0 else 15.0), 0.0])
    reach = np.array([17.0, 17.0]) if count == 1 else np.array([6.0, 17.0])
    begin, end = home + rng.uniform(-1, 1, (2, 2)) * reach
    bend = (begin + end) / 2 + rng.normal(0, 5, 2) * (rng.random() < 0.5)
    path = (
        np.outer((1 - progress) ** 2, begin)
        + np.outer(2 * progress * (1 - progress), bend)
        + np.outer(progress**2, end)
    )
    growth = rng.uniform(-0.6, 0.6) if rng.random() < 0.33 else 0.0
    turn = rng.uniform(-2.4, 2.4) if rng.random() < 0.33 else 0.0
    angle = rng.uniform(-0.25, 0.25) + turn * progress
    return LayerMap(np.exp(growth * (progress - 0.5)), angle, path[:, 0] * unit, path[:, 1] * unit)


def _thing_map(
    thing: Thing, rng: np.random.Generator, time: np.ndarray, unit: float, index: int, count: int
) -> LayerMap:
    """Map from an object's plane to the world's, whose origin is the centre of the frame."""
    if thing.motion == WANDERS:
        return _wander_map(rng, time, unit, index, count)
    speed = SPEEDS[thing.speed]
    half = CLIP_FRAMES / 2
    still = np.zeros_like(time)
    x0, y0 = rng.uniform(-7, 7, 2)
    if count > 1:  # next to each other, so that both stay visible
        x0 = x0 / 3 + (-15 if index == 0 else 15)
    x, y, scale, angle = still + x0, still + y0, still + 1.0, still + rng.uniform(-0.25, 0.25)
    step = 0.68 * speed * (0.6 if count > 1 else 1.0)
    shift = step * (time - half) + rng.uniform(-3, 3)
    if thing.motion in ("moves left", "moves right"):
        x = (x0 if count > 1 else 0) + (shift if thing.motion == "moves right" else -shift)
    elif thing.motion in ("moves up", "moves down"):
        y = shift if thing.motion == "moves down" else -shift
    elif thing.motion == "moves in a circle":
        phase = rng.uniform(0, 2 * np.pi) + 2 * np.pi * 0.026 * speed * time
        reach = 11.0 if count == 1 else 6.0
        x, y = x / 2 + reach * np.cos(phase), y / 2 + reach * np.sin(phase)
    elif thing.motion in ("grows", "shrinks"):
        sign = 1 if thing.motion == "grows" else -1
        scale = np.exp(sign * 0.022 * speed * (time - half)) * 0.95
    elif thing.motion == "spins":
        angle = angle + np.deg2rad(4.2) * speed * time
    return LayerMap(scale, angle, x * unit, y * unit)


def _centred(thing: LayerMap, size: int) -> LayerMap:
    """An object's map to the screen under a static camera, as a map to the world (origin: centre of the frame)."""
    return LayerMap(thing.scale, thing.angle, thing.x - size / 2, thing.y - size / 2)


def _compose(camera: LayerMap, thing: LayerMap, size: int) -> LayerMap:
    return LayerMap(
        camera.scale * thing.scale,
        camera.angle + thing.angle,
        camera.x + camera.scale * thing.x,
        camera.y + camera.scale * thing.y,
    )
