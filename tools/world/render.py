"""Pixels of a scene: anti-aliased shapes over a plain or textured background, with exact masks and tracks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .geometry import LayerMap, layer_maps, maps_of_change, radius_px
from .scene import COLOURS, PLAIN, Scene


@dataclass(frozen=True)
class Clip:
    """frames uint8 [f, h, w, 3]; masks float32 [things, f, h, w], visible coverage; tracks [things, f, 2], centres in
    px."""

    frames: np.ndarray
    masks: np.ndarray
    tracks: np.ndarray


def render(
    scene: Scene, frames: int = 33, size: int = 64, *, stride: float = 1, start: int = 0, endless: bool = False
) -> Clip:
    """Draw `frames` frames of a scene at `size` x `size` px, every `stride`-th world frame from `start`; endless: as in
    `layer_maps`."""
    return _draw([scene] * frames, layer_maps(scene, frames, size, stride, start, endless), size)


def render_change(
    before: Scene, after: Scene, frames: int, size: int, *, at: int, stride: float = 1, start: int = 0
) -> Clip:
    """As `render` of an endless world that changes at frame `at`, see `maps_of_change`."""
    maps = maps_of_change(before, after, frames, size, at=at, stride=stride, start=start)
    return _draw([before] * at + [after] * (frames - at), maps, size)


def _draw(scenes: list[Scene], maps: tuple[LayerMap, list[LayerMap]], size: int) -> Clip:
    """scenes: one per frame; they differ only in colours."""
    (background, things), scene, frames = maps, scenes[0], len(scenes)
    ys, xs = np.mgrid[0:size, 0:size].astype(np.float32) + 0.5
    xs, ys = np.broadcast_to(xs, (frames, size, size)), np.broadcast_to(ys, (frames, size, size))
    image = _background_pixels(scene, background, xs, ys, size)
    masks = np.zeros((len(things), frames, size, size), np.float32)
    rng = np.random.default_rng((scene.seed, 4))
    for index, (thing, layer) in enumerate(zip(scene.things, things, strict=True)):
        u, v = layer.to_plane(slice(None), xs, ys)
        distance = SIGNED_DISTANCE[thing.shape](u, v, radius_px(scene, index, size))
        coverage = np.clip(0.5 - distance * layer.scale[:, None, None], 0, 1).astype(np.float32)
        colours = np.asarray([COLOURS[one.things[index].colour] for one in scenes], np.float32)[:, None, None]
        colour = colours + rng.uniform(-8, 8, 3).astype(np.float32)
        image = image + coverage[..., None] * (colour - image)
        masks[:index] *= 1 - coverage
        masks[index] = coverage
    tracks = np.stack([np.stack([layer.x, layer.y], -1) for layer in things]).astype(np.float32)
    return Clip(np.clip(np.rint(image), 0, 255).astype(np.uint8), masks, tracks)


def _background_pixels(scene: Scene, layer: LayerMap, xs: np.ndarray, ys: np.ndarray, size: int) -> np.ndarray:
    """The background [f, h, w, 3], float32. Textures are soft and dark, so that any object stands out."""
    rng = np.random.default_rng((scene.seed, 5))
    jitter = rng.uniform(-4, 4, 3).astype(np.float32)
    if scene.background in PLAIN:
        colour = np.asarray(PLAIN[scene.background], np.float32) + jitter
        return np.broadcast_to(colour, (*xs.shape, 3))
    still = bool(np.ptp(layer.x) == 0 and np.ptp(layer.y) == 0 and np.ptp(layer.scale) == 0)
    if still:
        xs, ys = xs[:1], ys[:1]
    u, v = layer.to_plane(slice(0, 1) if still else slice(None), xs, ys)
    unit = 64.0 / size
    u, v = u * unit, v * unit
    phase = rng.uniform(0, 2 * np.pi, 2)
    if scene.background == "checkered":
        wave = np.tanh(2.5 * np.sin(u * np.pi / 10 + phase[0]) * np.sin(v * np.pi / 10 + phase[1]))
    elif scene.background == "striped":
        slope = rng.choice([0.0, 0.7, -0.7, 1.5])
        wave = np.tanh(2.0 * np.sin((np.cos(slope) * u + np.sin(slope) * v) * np.pi / 7 + phase[0]))
    else:
        wave = _value_noise(u, v, rng)
    low, high = np.asarray((48, 50, 56), np.float32) + jitter, np.asarray((80, 82, 90), np.float32) + jitter
    mixed = low + (high - low) * (0.5 + 0.5 * wave[..., None].astype(np.float32))
    return np.broadcast_to(mixed, (*mixed.shape[:0], max(mixed.shape[0], layer.x.size), *mixed.shape[1:]))


def _value_noise(u: np.ndarray, v: np.ndarray, rng: np.random.Generator, cell: float = 9.0) -> np.ndarray:
    """Smooth noise in -1..1: random values on a grid of `cell` px, interpolated with smoothstep."""
    table = rng.uniform(-1, 1, (32, 32))
    x, y = u / cell, v / cell
    i, j = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = x - i, y - j
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    at = lambda a, b: table[a % 32, b % 32]  # noqa: E731
    top = at(i, j) * (1 - fx) + at(i + 1, j) * fx
    bottom = at(i, j + 1) * (1 - fx) + at(i + 1, j + 1) * fx
    return top * (1 - fy) + bottom * fy


def _ball(u: np.ndarray, v: np.ndarray, r: float) -> np.ndarray:
    return np.sqrt(u * u + v * v) - r


def _polygon(u: np.ndarray, v: np.ndarray, corners: int, inradius: float, turn: float) -> np.ndarray:
    directions = turn + 2 * np.pi * np.arange(corners) / corners
    planes = [np.cos(a) * u + np.sin(a) * v for a in directions]
    return np.maximum.reduce(planes) - inradius


def _square(u: np.ndarray, v: np.ndarray, r: float) -> np.ndarray:
    return _polygon(u, v, 4, 0.86 * r, 0.0)


def _triangle(u: np.ndarray, v: np.ndarray, r: float) -> np.ndarray:
    return _polygon(u, v, 3, 0.62 * r, np.pi / 2)


def _star(u: np.ndarray, v: np.ndarray, r: float, points: int = 5, waist: float = 0.45) -> np.ndarray:
    """Five points up to 1.25 r: fold the plane into one half-sector, then one straight edge."""
    outer, inner = 1.25 * r, 1.25 * r * waist
    sector = np.pi / points
    angle = np.arctan2(u, -v)
    folded = np.abs((angle + sector) % (2 * sector) - sector)
    length = np.sqrt(u * u + v * v)
    px, py = length * np.cos(folded), length * np.sin(folded)
    ex, ey = inner * np.cos(sector) - outer, inner * np.sin(sector)
    return ((px - outer) * ey - py * ex) / np.hypot(ex, ey)


SIGNED_DISTANCE = {"ball": _ball, "square": _square, "triangle": _triangle, "star": _star}
