"""Content of a clip: objects, a background, a camera, and a seed for everything that the caption leaves open.

Captions are in `captions`, trajectories in `geometry`, pixels in `render`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

SHAPES = ("ball", "square", "triangle", "star")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (230, 40, 40),
    "green": (40, 185, 70),
    "blue": (55, 95, 245),
    "yellow": (245, 225, 50),
    "purple": (155, 50, 200),
    "orange": (250, 140, 30),
    "cyan": (50, 220, 230),
    "white": (245, 245, 245),
}
PLAIN: dict[str, tuple[int, int, int]] = {
    "black": (8, 8, 8),
    "gray": (112, 112, 112),
    "navy": (16, 24, 74),
    "brown": (98, 64, 38),
}
TEXTURES = ("checkered", "striped", "noisy")
BACKGROUNDS = (*PLAIN, *TEXTURES)
MOTIONS = (
    "moves left",
    "moves right",
    "moves up",
    "moves down",
    "moves in a circle",
    "grows",
    "shrinks",
    "spins",
    "stays still",
)
SPEEDS = {"slowly": 0.65, "": 1.0, "quickly": 1.45}
CAMERAS = ("pans left", "pans right", "pans up", "pans down", "zooms in", "zooms out")
WANDERS, DRIFTS = "wanders", "drifts"  # motions of objects and of the camera that captions leave out

HELD_OUT_COUNT = 64
_HELD_OUT_SEED = 20261121


@dataclass(frozen=True)
class Thing:
    """One object: its look and its motion."""

    shape: str
    colour: str
    motion: str
    speed: str = ""


@dataclass(frozen=True)
class Scene:
    """One clip. `seed` determines what the caption leaves open (start, size, texture phase, colour jitter)."""

    things: tuple[Thing, ...]
    background: str
    camera: str | None = None
    seed: int = 0


@lru_cache(maxsize=1)
def held_out() -> tuple[Scene, ...]:
    """The 64 single-object combinations that never appear in training.

    Balanced over every attribute. A spinning ball looks like one at rest, so that combination is left out.
    """
    rng = np.random.default_rng(_HELD_OUT_SEED)
    combinations = list(itertools.product(SHAPES, COLOURS, MOTIONS, BACKGROUNDS))
    order = rng.permutation(len(combinations))
    candidates = [combinations[i] for i in order if combinations[i][0] != "ball" or combinations[i][2] != "spins"]
    chosen: list[tuple[str, str, str, str]] = []
    used: dict[str, int] = {}
    for _ in range(HELD_OUT_COUNT):
        best = min(candidates, key=lambda combination: sum(used.get(word, 0) ** 2 for word in combination))
        candidates.remove(best)
        chosen.append(best)
        for word in best:
            used[word] = used.get(word, 0) + 1
    return tuple(Scene((Thing(s, c, m),), b, None, 10_000 + i) for i, (s, c, m, b) in enumerate(chosen))


@lru_cache(maxsize=1)
def _held_out_keys() -> frozenset[tuple[str, str, str, str]]:
    return frozenset((s.things[0].shape, s.things[0].colour, s.things[0].motion, s.background) for s in held_out())


def is_held_out(thing: Thing, background: str) -> bool:
    return (thing.shape, thing.colour, thing.motion, background) in _held_out_keys()


def sample_scene(seed: int, *, pairs: float = 0.1, cameras: float = 0.1, undescribed: bool = False) -> Scene:
    """A training scene: a pure function of `seed`.

    pairs, cameras: fractions of clips with two objects and with a moving camera (over a texture). undescribed: objects
    wander and cameras drift instead, which captions leave out.
    """
    rng = np.random.default_rng((seed, 1))
    kind = rng.random()
    while True:
        things = [_sample_thing(rng)]
        background = str(rng.choice(BACKGROUNDS, p=_BACKGROUND_PROBABILITIES))
        camera = None
        if kind < pairs:
            things.append(_sample_thing(rng, unlike=things[0]))
        elif kind < pairs + cameras:
            camera = str(rng.choice(CAMERAS))
            background = str(rng.choice(TEXTURES))
            things = [Thing(things[0].shape, things[0].colour, "stays still", things[0].speed)]
        if not any(is_held_out(thing, background) for thing in things):
            scene = Scene(tuple(things), background, camera, seed)
            return _undescribed(scene) if undescribed else scene


def _undescribed(scene: Scene) -> Scene:
    """The same scene with a motion that captions leave out."""
    if scene.camera:
        return replace(scene, camera=DRIFTS)
    return replace(scene, things=tuple(replace(thing, motion=WANDERS, speed="") for thing in scene.things))


def without_motion(scene: Scene) -> Scene:
    """The scene for a caption without motion."""
    return replace(scene, camera=None, things=tuple(replace(thing, motion=WANDERS, speed="") for thing in scene.things))


_BACKGROUND_PROBABILITIES = (0.19, 0.19, 0.19, 0.19, 0.08, 0.08, 0.08)


def _sample_thing(rng: np.random.Generator, unlike: Thing | None = None) -> Thing:
    while True:
        thing = Thing(
            str(rng.choice(SHAPES)),
            str(rng.choice(list(COLOURS))),
            str(rng.choice(MOTIONS)),
            str(rng.choice(list(SPEEDS), p=(0.25, 0.5, 0.25))),
        )
        if thing.motion == "stays still":
            thing = Thing(thing.shape, thing.colour, thing.motion)
        if unlike is None or (thing.colour != unlike.colour and thing.shape != unlike.shape):
            return thing
