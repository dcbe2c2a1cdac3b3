"""Shot specifications: shots as somebody wrote them, with any of start, end and duration, arranged into a timeline.

A shot starts where the one before ends, and ends where the next one starts, unless its own times say otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from videogen.core.errors import InputError

from .timeline import HOLD, Shot, Timeline, Transition

if TYPE_CHECKING:
    from videogen.motion.spec import Motion


@dataclass(frozen=True)
class ShotSpec:
    """One shot as it was written. start, end, seconds (its duration): in seconds; any of them may be missing."""

    prompt: str
    start: Fraction | None = None
    end: Fraction | None = None
    seconds: Fraction | None = None
    transition: Transition = HOLD
    seed: int | None = None
    motion: Motion | None = None


@contextmanager
def errors_at(where: str) -> Iterator[None]:
    """Prefix the message of an InputError of the block with a place in the story."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def arrange_shots(specs: Sequence[ShotSpec]) -> Timeline:
    """The timeline of these shots, in this order. InputError where a time is given twice or cannot be inferred."""
    shots: list[Shot] = []
    last: Fraction | None = Fraction(0)
    for number, spec in enumerate(specs, 1):
        start = last if spec.start is None else spec.start
        if start is None:
            raise InputError(
                f"the time at which shot {number - 1} ends and shot {number} starts is missing; give one of the two"
            )
        next_start = specs[number].start if number < len(specs) else None
        last = _find_end(number, spec, start, next_start)
        shots.append(Shot(spec.prompt, start, last, spec.transition, spec.seed, spec.motion))
    return Timeline(tuple(shots))


def _find_end(number: int, spec: ShotSpec, start: Fraction, next_start: Fraction | None) -> Fraction | None:
    if spec.seconds is None:
        return next_start if spec.end is None else spec.end
    if spec.end is not None:
        raise InputError(f"shot {number} has both end and seconds, which set the same time; leave one out")
    return start + spec.seconds
