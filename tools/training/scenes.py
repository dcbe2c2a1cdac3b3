"""Training scenes that insist on what a model learns last."""

from __future__ import annotations

import numpy as np

from tools.world import Scene, sample_scene
from tools.world.scene import BACKGROUNDS, COLOURS, MOTIONS, SPEEDS, TEXTURES, Thing, is_held_out

SPINS = {"star": 0.45, "square": 0.35, "triangle": 0.2}  # the DiT's last: what spins, and stars
CORNERS = {"square": 0.7, "triangle": 0.15, "star": 0.15}  # the UNet's: squares, which it took for balls


def told_scene(seed: int, hard: float) -> Scene:
    """A scene as its caption tells; `hard` is the share of those that are learned last: things that spin, and stars."""
    rng = np.random.default_rng((seed, 10))
    if rng.random() >= hard:
        return sample_scene(seed)
    while True:
        shape = _drawn(rng, SPINS)
        motion = "spins" if shape != "star" or rng.random() < 0.7 else str(rng.choice(MOTIONS))
        if scene := _unless_held_out(rng, shape, motion, seed):
            return scene


def cornered_scene(seed: int, hard: float) -> Scene:
    """A scene as its caption tells; `hard` is the share of those that insist on corners, in any motion."""
    rng = np.random.default_rng((seed, 11))
    if rng.random() >= hard:
        return sample_scene(seed)
    while True:
        if scene := _unless_held_out(rng, _drawn(rng, CORNERS), str(rng.choice(MOTIONS)), seed):
            return scene


def _drawn(rng: np.random.Generator, shares: dict[str, float]) -> str:
    return str(rng.choice(tuple(shares), p=tuple(shares.values())))


def _unless_held_out(rng: np.random.Generator, shape: str, motion: str, seed: int) -> Scene | None:
    """A scene of one thing, most of them over a texture; None where it is one of the held-out ones."""
    thing = Thing(shape, str(rng.choice(list(COLOURS))), motion, str(rng.choice(list(SPEEDS))))
    background = str(rng.choice(TEXTURES if rng.random() < 0.5 else BACKGROUNDS))
    return None if is_held_out(thing, background) else Scene((thing,), background, None, seed)
