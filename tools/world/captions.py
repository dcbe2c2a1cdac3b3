"""Captions of scenes: one canonical caption and many paraphrases (word order, synonyms)."""

from __future__ import annotations

import numpy as np

from .scene import DRIFTS, WANDERS, Scene, Thing

_SHAPE_WORDS = {
    "ball": ("ball", "ball", "circle", "disc"),
    "square": ("square", "square", "box", "block"),
    "triangle": ("triangle",),
    "star": ("star",),
}
_MOTION_WORDS = {
    "moves left": ("moves left", "moves left", "goes left", "slides to the left", "travels to the left"),
    "moves right": ("moves right", "moves right", "goes right", "slides to the right", "travels to the right"),
    "moves up": ("moves up", "moves up", "goes up", "rises", "travels upwards"),
    "moves down": ("moves down", "moves down", "goes down", "falls", "travels downwards"),
    "moves in a circle": ("moves in a circle", "moves in a circle", "goes around in a circle", "orbits"),
    "grows": ("grows", "grows", "gets bigger", "becomes larger"),
    "shrinks": ("shrinks", "shrinks", "gets smaller", "becomes smaller"),
    "spins": ("spins", "spins", "rotates", "turns around"),
    "stays still": ("stays still", "stays still", "does not move", "is still", "rests"),
}
_GROUND_WORDS = ("on a {} background", "on a {} background", "over a {} background", "in front of a {} backdrop")


def caption(scene: Scene, rng: np.random.Generator | None = None) -> str:
    """The canonical caption, or with `rng` a random paraphrase of it."""
    subjects = " and ".join(_subject(thing, rng) for thing in scene.things)
    ground = _pick(_GROUND_WORDS, rng).format(scene.background)
    camera = f"the camera {scene.camera}" if scene.camera and scene.camera != DRIFTS else ""
    if rng is not None and rng.random() < 0.3:
        text = f"{ground}, {subjects}"
        return f"{text}, {camera}" if camera else text
    text = f"{subjects} {ground}"
    if rng is not None and camera and rng.random() < 0.3:
        return f"{camera}, {text}"
    return f"{text}, {camera}" if camera else text


def vocabulary() -> list[str]:
    """All words that a caption can contain, sorted."""
    pools = [*_SHAPE_WORDS.values(), *_MOTION_WORDS.values(), _GROUND_WORDS]
    from .scene import BACKGROUNDS, CAMERAS, COLOURS, SPEEDS

    phrases = [phrase for pool in pools for phrase in pool]
    phrases += [*BACKGROUNDS, *CAMERAS, *COLOURS, *SPEEDS, "a an and the camera with its small big"]
    return sorted({word for phrase in phrases for word in phrase.split() if word != "{}"})


def _subject(thing: Thing, rng: np.random.Generator | None) -> str:
    noun = f"a {thing.colour} {_pick(_SHAPE_WORDS[thing.shape], rng)}"
    if noun.startswith("a orange"):
        noun = f"an{noun[1:]}"
    if thing.motion == WANDERS:
        return noun
    verb = _pick(_MOTION_WORDS[thing.motion], rng)
    if not thing.speed or thing.motion == "stays still":
        return f"{noun} {verb}"
    if rng is not None and rng.random() < 0.3:
        return f"{noun} {thing.speed} {verb}"
    return f"{noun} {verb} {thing.speed}"


def _pick(options: tuple[str, ...], rng: np.random.Generator | None) -> str:
    return options[0] if rng is None else options[int(rng.integers(len(options)))]
