"""Training scenes that insist on what a model learns last."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tools.world import Scene, sample_scene
from tools.world.geometry import CLIP_FRAMES
from tools.world.scene import BACKGROUNDS, COLOURS, MOTIONS, SPEEDS, TEXTURES, Thing, is_held_out

CHANGING = 0.37  # of the lasting worlds without a moving camera turn into another
SPINNERS = {"star": 0.45, "square": 0.35, "triangle": 0.2}  # the DiT's last: what spins, and stars
CORNERS = {"square": 0.7, "triangle": 0.15, "star": 0.15}  # the UNet's: squares, which it took for balls


def told_scene(seed: int, hard: float, shapes: dict[str, float], spinning: float = 0.0) -> Scene:
    """A scene as its caption tells; `hard` is the share of those that are learned last: one thing of these shapes, most
    over a texture.

    spinning: how many of them spin at least; the others move in any way.
    """
    rng = np.random.default_rng((seed, 10))
    if rng.random() >= hard:
        return sample_scene(seed)
    while True:
        shape = str(rng.choice(tuple(shapes), p=tuple(shapes.values())))
        motion = "spins" if rng.random() < spinning else str(rng.choice(MOTIONS))
        thing = Thing(shape, str(rng.choice(list(COLOURS))), motion, str(rng.choice(list(SPEEDS))))
        background = str(rng.choice(TEXTURES if rng.random() < 0.5 else BACKGROUNDS))
        if not is_held_out(thing, background):
            return Scene((thing,), background, None, seed)


@dataclass(frozen=True)
class Succession:
    """A lasting world, from world frame `start` on, that turns into another at a clip's latent frame `at`, or stays as
    it is."""

    before: Scene
    after: Scene
    at: int
    start: int

    @property
    def changes(self) -> bool:
        return self.before != self.after


def succession(seed: int, earliest: int, latest: int) -> Succession:
    """For a model to go on from what it is shown: in a third of the clips a thing turns another colour, or moves
    otherwise."""
    rng = np.random.default_rng((seed, 12))
    before = after = sample_scene(seed)
    if before.camera is None and rng.random() < CHANGING:
        while after == before or is_held_out(after.things[0], after.background):
            told = (
                {"colour": str(rng.choice(list(COLOURS)))}
                if rng.random() < 0.5
                else {"motion": str(rng.choice(MOTIONS))}
            )
            after = replace(before, things=(replace(before.things[0], **told), *before.things[1:]))
    start = int(rng.integers(2 * CLIP_FRAMES)) if rng.random() < 0.5 else 0
    return Succession(before, after, int(rng.integers(earliest, latest + 1)), start)
