"""Timeline of a long video: shots in order, each with a prompt, a transition from the one before, a seed, a motion.

A timeline is checked when it is created: it begins at 0, shots neither overlap nor leave gaps, and each has a positive
duration. Times are exact fractions, in seconds or in frames. To read one from text or files: `story`. Its translation
into latent frames: `latent_timeline`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from videogen.core.errors import InputError, unknown
from videogen.core.keywords import suggest_keywords
from videogen.core.tables import check_keys

if TYPE_CHECKING:
    from videogen.core.frame_latent_map import Geometry
    from videogen.motion.spec import Motion

    from .latent_timeline import LatentTimeline

KINDS = ("cut", "blend", "hold")
UNITS = ("seconds", "frames")
_BLEND = re.compile(r"blend\s*\(\s*(?P<length>\d+(?:\.\d+)?|\.\d+)\s*(?P<unit>s?)\s*\)")
_FRACTION = re.compile(r"\d{1,18}(/\d{1,18})?")


@suggest_keywords
@dataclass(frozen=True)
class Transition:
    """How a shot follows the one before.

    hold: the image continues and only the prompt changes, at once. blend: the image continues, and for `length` from
    the shot's start the prompts are mixed, with a rising weight of the new one. cut: the image starts afresh, not
    joined to what precedes it. in_frames: whether `length` is in frames; if not, it is in seconds.
    """

    kind: str = "hold"
    length: Fraction = Fraction(0)
    in_frames: bool = True

    @classmethod
    def parse(cls, text: object) -> Transition:
        """`cut`, `hold`, `blend(8)` (frames) or `blend(0.5s)`."""
        name = text.strip() if isinstance(text, str) else ""
        if name in ("cut", "hold"):
            return cls(name)
        found = _BLEND.fullmatch(name)
        if not found:
            if name == "blend" or name.startswith("blend("):
                raise InputError(
                    f"transition {text!r} has no valid length; write blend(8) for 8 frames, or blend(0.5s)"
                )
            raise unknown("transition", str(text), ("cut", "hold", "blend(8)", "blend(0.5s)"))
        length = Fraction(found["length"])
        if not length or (not found["unit"] and length.denominator > 1):
            raise InputError(
                f"transition {text!r} must blend over a whole number of frames above 0, or over seconds: blend(0.5s)"
            )
        return cls("blend", length, not found["unit"])

    def __str__(self) -> str:
        return (
            self.kind if self.kind != "blend" else f"blend({format_number(self.length)}{'' if self.in_frames else 's'})"
        )


HOLD = Transition()


@suggest_keywords
@dataclass(frozen=True)
class Shot:
    """A prompt from start to end, in the timeline's unit. end None: the clip's end; seed None: the request's."""

    prompt: str
    start: Fraction
    end: Fraction | None
    transition: Transition = HOLD
    seed: int | None = None
    motion: Motion | None = None


@suggest_keywords
@dataclass(frozen=True)
class Timeline:
    """Shots in order, from 0, without gaps. unit: of their times. Only the last may be open (end None).

    InputError for anything else.
    """

    shots: tuple[Shot, ...]
    unit: str = "seconds"

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise unknown("unit of time", str(self.unit), UNITS)
        if not self.shots:
            raise InputError("the story has no shot; give at least one prompt")
        last = Fraction(0)
        for number, shot in enumerate(self.shots, 1):
            self._check_shot(number, shot)
            self._check_follows(number, shot, last)
            last = shot.end if shot.end is not None else last

    @classmethod
    def from_prompt(cls, prompt: str) -> Timeline:
        """One shot as long as the clip."""
        return cls((Shot(prompt, Fraction(0), None),))

    @property
    def moves(self) -> bool:
        """Whether a shot has a motion."""
        return any(shot.motion is not None for shot in self.shots)

    @property
    def end(self) -> Fraction | None:
        """The end of the last shot, in the timeline's unit; None where it is the clip's end."""
        return self.shots[-1].end

    def frame(self, time: Fraction, fps: Fraction) -> int:
        """The frame that begins nearest to a time, which is in the timeline's unit."""
        return round_half_up(time * fps if self.unit == "seconds" else time)

    def frames(self, fps: Fraction | float, geometry: Geometry) -> int | None:
        """The smallest number of frames that covers the timeline and fits the model; None where the last shot is
        open."""
        from videogen.core.frame_latent_map import FrameLatentMap
        from videogen.core.rates import exact_fps

        if self.end is None:
            return None
        return FrameLatentMap.from_geometry(geometry).round_up(self.frame(self.end, exact_fps(fps)))

    def compile(self, *, fps: Fraction | float, frames: int, geometry: Geometry, seed: int = 0) -> LatentTimeline:
        """The timeline in latent frames, for a clip of so many frames: see `latent_timeline.compile_timeline`."""
        from .latent_timeline import compile_timeline

        return compile_timeline(self, fps=fps, frames=frames, geometry=geometry, seed=seed)

    def format_time(self, time: Fraction) -> str:
        """A time in the timeline's unit, for messages: `4.5 s` or `frame 72`."""
        return f"{format_number(time)} s" if self.unit == "seconds" else f"frame {format_number(time)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for requests, manifests and comparison; the inverse of `from_dict`."""
        return {"unit": self.unit, "shots": [_shot_to_dict(shot) for shot in self.shots]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Timeline:
        """The timeline of `to_dict`'s data. InputError names an unknown key."""
        check_keys(values, ("unit", "shots"), "story")
        shots = values.get("shots")
        if not isinstance(shots, list | tuple) or not all(isinstance(shot, Mapping) for shot in shots):
            raise InputError(
                f"story: shots={str(shots)[:60]!r} must be a list of shots, such as [{{'prompt': ..., 'start': 0}}]"
            )
        return cls(
            tuple(_shot_from_dict(shot, f"shot {number}") for number, shot in enumerate(shots, 1)),
            values.get("unit", "seconds"),
        )

    def _check_shot(self, number: int, shot: Shot) -> None:
        if not isinstance(shot.prompt, str) or not shot.prompt.strip():
            raise InputError(f"shot {number} has no prompt; describe what it shows, such as 'a red ball moves right'")
        if shot.seed is not None and (type(shot.seed) is not int or not 0 <= shot.seed < 2**63):
            raise InputError(f"seed={shot.seed!r} of shot {number} must be a whole number from 0 to 2**63 - 1")
        if shot.end is not None and shot.end <= shot.start:
            raise InputError(
                f"shot {number} has no duration: it starts at {self.format_time(shot.start)} and ends at "
                f"{self.format_time(shot.end)}; end it later than it starts"
            )
        if number == 1 and shot.transition.kind == "blend":
            raise InputError(f"shot 1 has no shot before it to {shot.transition} with; leave its transition out")

    def _check_follows(self, number: int, shot: Shot, last: Fraction) -> None:
        """last: the end of the shot before."""
        start, end = self.format_time(shot.start), self.format_time(last)
        if number > 1 and self.shots[number - 2].end is None:
            raise InputError(f"shot {number - 1} has no end and is not the last; end it at {start}")
        if shot.start < last:
            raise InputError(
                f"shots {number - 1} and {number} overlap: shot {number} starts at {start}, before shot {number - 1} "
                f"ends at {end}; start it at {end}"
            )
        if shot.start > last:
            before = f"shot {number - 1} ends at {end}" if number > 1 else f"a story starts at {end}"
            raise InputError(f"gap before shot {number}: it starts at {start}, and {before}; start it at {end}")


def format_number(value: Fraction) -> str:
    """A fraction as a decimal number."""
    return f"{float(value):.10g}"


def round_half_up(value: Fraction) -> int:
    return int((2 * value + 1) // 2)


def read_fraction(value: object, name: str) -> Fraction:
    """A number exactly as it was written: 0.1 is one tenth; `"1/3"` is read too.

    InputError for anything but a finite number. name: the value's, for the message.
    """
    is_number = isinstance(value, int | float | Fraction) and not isinstance(value, bool)
    if not is_number and not (isinstance(value, str) and _FRACTION.fullmatch(value)):
        raise InputError(f"{name}={value!r} must be a number")
    try:
        return Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise InputError(f"{name}={value!r} must be a finite number") from None


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


def _shot_from_dict(values: Mapping[str, Any], where: str) -> Shot:
    from videogen.motion.serialisation import from_layers

    check_keys(values, ("prompt", "start", "end", "transition", "seed", "motion"), where)
    motion, end = values.get("motion"), values.get("end")
    return Shot(
        values.get("prompt", ""),
        read_fraction(values.get("start"), f"{where}: start"),
        None if end is None else read_fraction(end, f"{where}: end"),
        Transition.parse(values.get("transition", "hold")),
        values.get("seed"),
        None if motion is None else from_layers(motion, where=f"{where}: motion"),
    )
