"""Shots of which not every time is said, put in order: each starts where the one before ends, and ends where the next
starts."""

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
class Beat:
    """A shot as somebody wrote it, in seconds: any of start, end and how long it lasts, or none."""

    prompt: str
    start: Fraction | None = None
    end: Fraction | None = None
    seconds: Fraction | None = None
    transition: Transition = HOLD
    seed: int | None = None
    motion: Motion | None = None


@contextmanager
def telling(where: str) -> Iterator[None]:
    """An InputError of the block says where in the story it is."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def in_order(beats: Sequence[Beat]) -> Timeline:
    """The timeline that these shots make. InputError where a time is said twice or cannot be known."""
    shots: list[Shot] = []
    last: Fraction | None = Fraction(0)
    for at, beat in enumerate(beats, 1):
        start = last if beat.start is None else beat.start
        if start is None:
            raise InputError(f"nothing says when shot {at - 1} ends and shot {at} starts; give one of the two times")
        following = beats[at].start if at < len(beats) else None
        last = _end(at, beat, start, following)
        shots.append(Shot(beat.prompt, start, last, beat.transition, beat.seed, beat.motion))
    return Timeline(tuple(shots))


def _end(at: int, beat: Beat, start: Fraction, following: Fraction | None) -> Fraction | None:
    if beat.seconds is None:
        return following if beat.end is None else beat.end
    if beat.end is not None:
        raise InputError(f"shot {at} has both end and seconds; one of them says how long it lasts")
    return start + beat.seconds
