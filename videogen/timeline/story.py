"""Story reader: a timeline from a file, its text, `{frame: prompt}`, a list of (seconds, prompt), or plain data.

A story file is TOML if its name ends in .toml, otherwise lines of text (`story_text`):

    [[shot]]
    prompt = "a red ball moves right on a black background"
    seconds = 4                        # or start and end: seconds, or "01:04.5"; the last may be open

    [[shot]]
    prompt = "a blue ball moves right on a black background"
    transition = "blend(8)"            # cut, hold (the default), blend(frames), blend(0.5s)
    seed = 7
    motion = "pan.toml"                # a motion plan, or a list of layers: [{kind = "camera", pan = 8}]

File names are relative to the story's folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videogen.core.errors import InputError
from videogen.core.file_names import resolve_file
from videogen.core.tables import check_keys, parse_toml, read_text

from .shot_spec import ShotSpec, arrange_shots, errors_at
from .story_text import parse_story, parse_time
from .timeline import Shot, Timeline, Transition, read_fraction

if TYPE_CHECKING:
    from videogen.motion.spec import Motion

_KEYS = ("prompt", "seconds", "start", "end", "transition", "seed", "motion")


def as_timeline(value: object, folder: str | os.PathLike[str] = ".") -> Timeline:
    """A timeline from any of the forms above. Text with several lines, or that begins with a bracket, is a story; any
    other text is a file name.

    folder: file names in a story's text are relative to it. InputError for anything else.
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
        f"story={repr(value)[:60]} is not a story; give a file, text, {{frame: prompt}} or a list of (seconds, prompt)"
    )


def read_story(path: str | os.PathLike[str]) -> Timeline:
    """The timeline in a file. InputError where it cannot be read or is not valid, naming the place."""
    text = read_text(Path(path), "the story ")
    folder = Path(path).expanduser().parent
    with errors_at(str(path)):
        return _parse_toml(text, folder, "story") if str(path).lower().endswith(".toml") else parse_story(text, folder)


def from_frames(prompts: Mapping[int, str]) -> Timeline:
    """`{0: "a red ball", 64: "a blue ball"}`: each prompt from its frame to the next, the last to the clip's end."""
    for frame in prompts:
        if type(frame) is not int or frame < 0:
            raise InputError(f"{frame!r} is not a frame number; the keys of {{frame: prompt}} count frames from 0")
    if not prompts:
        raise InputError("the story has no shot; give at least one prompt, {0: 'a red ball moves right'}")
    starts = sorted(prompts)
    ends = [*map(Fraction, starts[1:]), None]
    return Timeline(tuple(Shot(prompts[a], Fraction(a), b) for a, b in zip(starts, ends, strict=True)), "frames")


def from_list(shots: Sequence[Any]) -> Timeline:
    """`[(4, "a red ball"), (2.5, "a blue ball")]`: each prompt's duration in seconds; None for the last one: to the
    clip's end."""
    specs = []
    for number, item in enumerate(shots, 1):
        if isinstance(item, str) or not isinstance(item, Sequence) or len(item) != 2 or not isinstance(item[1], str):
            raise InputError(f"shot {number} of the list is {item!r}, which is not (seconds, prompt)")
        seconds = None if item[0] is None else read_fraction(item[0], f"shot {number}: seconds")
        if seconds == 0:
            raise InputError(
                f"shot {number} has a duration of 0 s; in (seconds, prompt), seconds is a shot's duration, "
                "not its start"
            )
        specs.append(ShotSpec(item[1], seconds=seconds))
    return arrange_shots(specs)


def _parse_toml(text: str, folder: Path, where: str) -> Timeline:
    values = parse_toml(text, where)
    check_keys(values, ("shot",), where)
    shots = values.get("shot")
    if not isinstance(shots, list) or not shots:
        raise InputError(f"{where} has no shot; begin one with [[shot]] and prompt = 'a red ball moves right'")
    return _from_tables(shots, folder, where)


def _from_tables(shots: Sequence[Any], folder: Path, where: str) -> Timeline:
    return arrange_shots([_read_table(shot, folder, f"{where}, shot {number}") for number, shot in enumerate(shots, 1)])


def _read_table(values: Any, folder: Path, where: str) -> ShotSpec:
    if not isinstance(values, Mapping):
        raise InputError(f"{where} is {values!r}, which is not a table; begin it with [[shot]]")
    check_keys(values, _KEYS, where)
    with errors_at(where):
        times = {key: _read_time(values[key], key) for key in ("start", "end", "seconds") if key in values}
        transition = Transition.parse(values.get("transition", "hold"))
        motion = _read_motion(values.get("motion"), folder)
    return ShotSpec(values.get("prompt", ""), transition=transition, seed=values.get("seed"), motion=motion, **times)


def _read_time(value: object, name: str) -> Fraction:
    return parse_time(value, name) if isinstance(value, str) else read_fraction(value, name)


def _read_motion(value: Any, folder: Path) -> Motion | None:
    from videogen.motion.serialisation import as_motion, from_layers

    if value is None:
        return None
    return as_motion(resolve_file(value, folder)) if isinstance(value, str) else from_layers(value, folder)
