"""What a long video shows when: shots in order, each with a prompt, how it follows the one before, a seed, a motion.

A timeline is checked when it is made: it begins at 0, no shot overlaps the next or leaves a gap, none lasts no time.
Times are exact fractions, in seconds or in frames. Reading one from words or files: `story`. What each latent frame
gets: `latent_timeline`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from videogen.core.errors import InputError, unknown
from videogen.core.tables import check_keys

if TYPE_CHECKING:
    from videogen.core.frame_latent_map import Geometry
    from videogen.motion.spec import Motion

    from .latent_timeline import LatentTimeline

KINDS = ("cut", "blend", "hold")
UNITS = ("seconds", "frames")
_BLEND = re.compile(r"blend\s*\(\s*(?P<length>\d+(?:\.\d+)?|\.\d+)\s*(?P<unit>s?)\s*\)")
_FRACTION = re.compile(r"\d{1,18}(/\d{1,18})?")


@dataclass(frozen=True)
class Transition:
    """How a shot follows the one before.

    hold: the picture goes on and only the prompt changes, at once. blend: so it does, and both prompts count for
    `length` from the shot's start, the new one more and more. cut: a new picture, which nothing ties to the old one.
    in_frames: what length counts.
    """

    kind: str = "hold"
    length: Fraction = Fraction(0)
    in_frames: bool = True

    @classmethod
    def parse(cls, text: object) -> Transition:
        """`cut`, `hold`, `blend(8)` (frames) or `blend(0.5s)`."""
        words = text.strip() if isinstance(text, str) else None
        if words in ("cut", "hold"):
            return cls(words)
        found = _BLEND.fullmatch(words or "")
        if not found:
            if words == "blend" or (words or "").startswith("blend("):
                raise InputError(
                    f"transition {text!r} does not say over how much; write blend(8) for 8 frames or blend(0.5s)"
                )
            raise unknown("transition", str(text), ("cut", "hold", "blend(8)", "blend(0.5s)"))
        length = Fraction(found["length"])
        if not length or (not found["unit"] and length.denominator > 1):
            raise InputError(
                f"transition {text!r} must blend over a whole number of frames above 0, or over seconds: blend(0.5s)"
            )
        return cls("blend", length, not found["unit"])

    def __str__(self) -> str:
        return self.kind if self.kind != "blend" else f"blend({number(self.length)}{'' if self.in_frames else 's'})"


HOLD = Transition()


@dataclass(frozen=True)
class Shot:
    """A prompt from start to end, in the timeline's unit; end None: to the clip's end. seed None: the render's."""

    prompt: str
    start: Fraction
    end: Fraction | None
    transition: Transition = HOLD
    seed: int | None = None
    motion: Motion | None = None


@dataclass(frozen=True)
class Timeline:
    """Shots in order, from 0, without gaps. Only the last may be open (end None). InputError for anything else."""

    shots: tuple[Shot, ...]
    unit: str = "seconds"

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise unknown("unit of time", str(self.unit), UNITS)
        if not self.shots:
            raise InputError("the story has no shot; give at least one prompt")
        last = Fraction(0)
        for at, shot in enumerate(self.shots, 1):
            self._check_shot(at, shot)
            self._check_follows(at, shot, last)
            last = shot.end if shot.end is not None else last

    @property
    def end(self) -> Fraction | None:
        """When the last shot ends, in the timeline's unit; None where it goes to the clip's end."""
        return self.shots[-1].end

    def frame(self, time: Fraction, fps: Fraction) -> int:
        """The frame that begins nearest to a time of this timeline."""
        return round_half_up(time * fps if self.unit == "seconds" else time)

    def frames(self, fps: Fraction | float, geometry: Geometry) -> int | None:
        """The least count of frames that shows all of it and fits the model; None where the last shot is open."""
        from videogen.core.frame_latent_map import FrameLatentMap
        from videogen.core.rates import exact_fps

        return (
            None
            if self.end is None
            else FrameLatentMap.from_geometry(geometry).round_up(self.frame(self.end, exact_fps(fps)))
        )

    def compile(self, *, fps: Fraction | float, frames: int, geometry: Geometry, seed: int = 0) -> LatentTimeline:
        """What each latent frame gets in a clip of so many frames: see `latent_timeline.compile_timeline`."""
        from .latent_timeline import compile_timeline

        return compile_timeline(self, fps=fps, frames=frames, geometry=geometry, seed=seed)

    def told(self, time: Fraction) -> str:
        """`4.5 s` or `frame 72`."""
        return f"{number(time)} s" if self.unit == "seconds" else f"frame {number(time)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for requests, manifests and comparison; `from_dict` reads it again."""
        return {"unit": self.unit, "shots": [_shot_to_dict(shot) for shot in self.shots]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Timeline:
        """What `to_dict` gave; InputError names a key that is not known."""
        check_keys(values, ("unit", "shots"), "story")
        shots = values.get("shots")
        if not isinstance(shots, list | tuple) or not all(isinstance(shot, Mapping) for shot in shots):
            raise InputError(
                f"story: shots={str(shots)[:60]!r} must be a list of shots; {{'shots': [{{'prompt': ..., 'start': 0}}]}}"
            )
        return cls(
            tuple(_shot_from_dict(shot, f"shot {at}") for at, shot in enumerate(shots, 1)),
            values.get("unit", "seconds"),
        )

    def _check_shot(self, at: int, shot: Shot) -> None:
        if not isinstance(shot.prompt, str) or not shot.prompt.strip():
            raise InputError(f"shot {at} has no prompt; say what it shows, such as 'a red ball moves right'")
        if shot.seed is not None and (type(shot.seed) is not int or not 0 <= shot.seed < 2**63):
            raise InputError(f"seed={shot.seed!r} of shot {at} must be a whole number from 0 to 2**63 - 1")
        if shot.end is not None and shot.end <= shot.start:
            raise InputError(
                f"shot {at} lasts no time: it goes from {self.told(shot.start)} to {self.told(shot.end)}; let it end after it starts"
            )
        if at == 1 and shot.transition.kind == "blend":
            raise InputError(f"shot 1 has nothing before it to {shot.transition} with; leave its transition out")

    def _check_follows(self, at: int, shot: Shot, last: Fraction) -> None:
        if at > 1 and self.shots[at - 2].end is None:
            raise InputError(
                f"shot {at - 1} does not say when it ends and is not the last; end it at {self.told(shot.start)}"
            )
        if shot.start < last:
            raise InputError(
                f"shots {at - 1} and {at} overlap: shot {at} starts at {self.told(shot.start)}, before shot {at - 1} ends at "
                f"{self.told(last)}; start it at {self.told(last)}"
            )
        if shot.start > last:
            before = f"shot {at - 1} ends at {self.told(last)}" if at > 1 else f"a story starts at {self.told(last)}"
            raise InputError(
                f"nothing is shown before shot {at}: it starts at {self.told(shot.start)}, {before}; let them meet"
            )


def number(value: Fraction) -> str:
    """A fraction as a person writes it."""
    return f"{float(value):.10g}"


def round_half_up(value: Fraction) -> int:
    return int((2 * value + 1) // 2)


def exact(value: object, told: str) -> Fraction:
    """A number as a person wrote it: 0.1 is one tenth; `"1/3"` too. InputError, begun by `told`, for what is no finite
    number."""
    is_number = isinstance(value, int | float | Fraction) and not isinstance(value, bool)
    if not is_number and not (isinstance(value, str) and _FRACTION.fullmatch(value)):
        raise InputError(f"{told}={value!r} must be a number")
    try:
        return Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise InputError(f"{told}={value!r} must be a finite number") from None


def _shot_to_dict(shot: Shot) -> dict[str, Any]:
    from videogen.motion.serialisation import to_layers

    return {
        "prompt": shot.prompt,
        "start": str(shot.start),
        "end": None if shot.end is None else str(shot.end),
        "transition": str(shot.transition),
        "seed": shot.seed,
        "motion": None if shot.motion is None else to_layers(shot.motion),
    }


def _shot_from_dict(values: Mapping[str, Any], told: str) -> Shot:
    from videogen.motion.serialisation import from_layers

    check_keys(values, ("prompt", "start", "end", "transition", "seed", "motion"), told)
    motion, end = values.get("motion"), values.get("end")
    return Shot(
        values.get("prompt", ""),
        exact(values.get("start"), f"{told}: start"),
        None if end is None else exact(end, f"{told}: end"),
        Transition.parse(values.get("transition", "hold")),
        values.get("seed"),
        None if motion is None else from_layers(motion, where=f"{told}: motion"),
    )
