"""Training scenes: hard ones, and endless ones that change."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tools.world import Scene, sample_scene
from tools.world.geometry import CLIP_FRAMES
from tools.world.scene import BACKGROUNDS, COLOURS, MOTIONS, SPEEDS, TEXTURES, Thing, is_held_out

CHANGING = 0.37  # fraction of the endless worlds without a moving camera that change
SPINNERS = {"star": 0.45, "square": 0.35, "triangle": 0.2}  # hard for the DiT: spinning objects, and stars
CORNERS = {"square": 0.7, "triangle": 0.15, "star": 0.15}  # hard for the UNet: squares, which it confused with balls


def described_scene(seed: int, hard: float, shapes: dict[str, float], spinning: float = 0.0) -> Scene:
    """A scene whose motion its caption describes; a fraction `hard` of them has one object of the given shapes, half of
    these over a texture.

    shapes: their probabilities. spinning: fraction of the hard scenes that spin; the others have any motion.
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
class SceneChange:
    """An endless world from world frame `start` on, which is `before` up to a clip's latent frame `at` and then
    `after`; the two may be equal."""

    before: Scene
    after: Scene
    at: int
    start: int

    @property
    def changes(self) -> bool:
        return self.before != self.after


def sample_change(seed: int, earliest: int, latest: int) -> SceneChange:
    """A world for training continuations: in a third of the clips an object changes its colour or its motion."""
    rng = np.random.default_rng((seed, 12))
    before = after = sample_scene(seed)
    if before.camera is None and rng.random() < CHANGING:
        while after == before or is_held_out(after.things[0], after.background):
            change = (
                {"colour": str(rng.choice(list(COLOURS)))}
                if rng.random() < 0.5
                else {"motion": str(rng.choice(MOTIONS))}
            )
            after = replace(before, things=(replace(before.things[0], **change), *before.things[1:]))
    start = int(rng.integers(2 * CLIP_FRAMES)) if rng.random() < 0.5 else 0
    return SceneChange(before, after, int(rng.integers(earliest, latest + 1)), start)
