"""A timeline from whatever a user has: a story file, its text, `{frame: prompt}`, a list of (seconds, prompt), plain
data.

A story file is TOML where its name ends in .toml, lines of text (`story_text`) otherwise:

    [[shot]]
    prompt = "a red ball moves right on a black background"
    seconds = 4                        # or start and end: seconds, or "01:04.5"; the last may be open

    [[shot]]
    prompt = "a blue ball moves right on a black background"
    transition = "blend(8)"            # cut, hold (the default), blend(frames), blend(0.5s)
    seed = 7
    motion = "pan.toml"                # a motion plan, or its layers: motion = [{kind = "camera", pan = 8}]

File names are relative to the story's folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videogen.core.errors import InputError
from videogen.core.tables import check_keys, parse_toml, read_text

from .shot_specs import Beat, in_order, telling
from .story_text import parse_story, parse_time
from .timeline import Shot, Timeline, Transition, exact

if TYPE_CHECKING:
    from videogen.motion.spec import Motion

_KEYS = ("prompt", "seconds", "start", "end", "transition", "seed", "motion")


def as_timeline(value: object, folder: str | os.PathLike[str] = ".") -> Timeline:
    """A timeline from any of the forms above. Text of many lines, or that begins with a bracket, is a story; any other
    is a file's name.

    folder: what file names in a story's text are relative to. InputError for anything else.
    """
    if isinstance(value, Timeline):
        return value
    if isinstance(value, str) and ("\n" in value or value.lstrip().startswith("[")):
        is_toml = any(line.lstrip().startswith("[[") for line in value.splitlines())
        return _parse_toml(value, Path(folder), "story") if is_toml else parse_story(value, folder)
    if isinstance(value, str | os.PathLike):
        return read_story(value)
    if isinstance(value, Mapping):
        return Timeline.from_dict(value) if any(isinstance(key, str) for key in value) else from_frames(value)
    if isinstance(value, Sequence) and value:
        return _from_tables(value, Path(folder), "story") if isinstance(value[0], Mapping) else from_list(value)
    raise InputError(
        f"story={repr(value)[:60]} is no story; give a file, text, {{frame: prompt}} or a list of (seconds, prompt)"
    )


def read_story(path: str | os.PathLike[str]) -> Timeline:
    """The timeline in a file. InputError for one that cannot be read, or is wrong, with the place."""
    text = read_text(Path(path), "the story ")
    folder = Path(path).expanduser().parent
    with telling(str(path)):
        return _parse_toml(text, folder, "story") if str(path).lower().endswith(".toml") else parse_story(text, folder)


def from_frames(prompts: Mapping[int, str]) -> Timeline:
    """`{0: "a red ball", 64: "a blue ball"}`: each prompt from its frame to the next, the last to the clip's end."""
    for frame in prompts:
        if type(frame) is not int or frame < 0:
            raise InputError(f"{frame!r} is no frame's number; the keys of {{frame: prompt}} count frames from 0")
    if not prompts:
        raise InputError("the story has no shot; give at least one prompt, {0: 'a red ball moves right'}")
    starts = sorted(prompts)
    ends = [*map(Fraction, starts[1:]), None]
    return Timeline(tuple(Shot(prompts[a], Fraction(a), b) for a, b in zip(starts, ends, strict=True)), "frames")


def from_list(shots: Sequence[Any]) -> Timeline:
    """`[(4, "a red ball"), (2.5, "a blue ball")]`: how many seconds each prompt lasts; None for the last: to the clip's
    end."""
    beats = []
    for at, item in enumerate(shots, 1):
        if isinstance(item, str) or not isinstance(item, Sequence) or len(item) != 2 or not isinstance(item[1], str):
            raise InputError(f"shot {at} of the list is {item!r}, which is no (seconds, prompt)")
        seconds = None if item[0] is None else exact(item[0], f"shot {at}: seconds")
        if seconds == 0:
            raise InputError(
                f"shot {at} lasts 0 s; a list says (seconds, prompt), how long each shot lasts and not when it starts"
            )
        beats.append(Beat(item[1], seconds=seconds))
    return in_order(beats)


def _parse_toml(text: str, folder: Path, told: str) -> Timeline:
    values = parse_toml(text, told)
    check_keys(values, ("shot",), told)
    shots = values.get("shot")
    if not isinstance(shots, list) or not shots:
        raise InputError(f"{told} has no shot; begin one with [[shot]] and prompt = 'a red ball moves right'")
    return _from_tables(shots, folder, told)


def _from_tables(shots: Sequence[Any], folder: Path, told: str) -> Timeline:
    return in_order([_beat(shot, folder, f"{told}, shot {at}") for at, shot in enumerate(shots, 1)])


def _beat(values: Any, folder: Path, told: str) -> Beat:
    if not isinstance(values, Mapping):
        raise InputError(f"{told} is {values!r}, which is no table; begin it with [[shot]]")
    check_keys(values, _KEYS, told)
    with telling(told):
        times = {key: _time(values[key], key) for key in ("start", "end", "seconds") if key in values}
        transition, motion = Transition.parse(values.get("transition", "hold")), _motion(values.get("motion"), folder)
    return Beat(values.get("prompt", ""), transition=transition, seed=values.get("seed"), motion=motion, **times)


def _time(value: object, told: str) -> Fraction:
    return parse_time(value, told) if isinstance(value, str) else exact(value, told)


def _motion(value: Any, folder: Path) -> Motion | None:
    from videogen.motion.serialisation import as_motion, from_layers

    if value is None:
        return None
    return as_motion(folder / Path(value).expanduser()) if isinstance(value, str) else from_layers(value, folder)
