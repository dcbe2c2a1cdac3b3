"""Stories as lines of text: a time in brackets, then the prompt.

    # a comment
    [00:00-00:04] a red ball moves right
    [00:04-00:08.5, blend(8), seed=7] a blue ball moves right
        on a black background                                    (a line without brackets goes on)
    [00:08.5-, cut, motion=pan.toml] a green star spins          (an open end: to the clip's end)

Times are SS, MM:SS or HH:MM:SS with a fraction, from the clip's start; `[00:04]` alone ends where the next begins.
Options after the time: a transition (cut, hold, blend(frames), blend(0.5s)), seed=, motion= (a motion plan's file).
"""

from __future__ import annotations

import os
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

from videogen.core.errors import InputError, unknown

from .shot_specs import Beat, in_order, telling
from .timeline import KINDS, Timeline, Transition

_LINE = re.compile(r"\[(?P<head>[^\]]*)\]\s*(?P<prompt>.*)")
_SPAN = re.compile(r"(?P<start>[\d:.\s]+s?)\s*(?:(?P<dash>-|–|—|->|\bto\b)\s*(?P<end>[\d:.\s]*s?)\s*)?")
_TIME = re.compile(r"(?:(?:(?P<h>\d{1,4}):)?(?P<m>\d{1,4}):)?(?P<s>\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})\s*s?")
_OPTIONS = ("cut", "hold", "blend(8)", "blend(0.5s)", "seed", "motion")


def parse_story(text: str, folder: str | os.PathLike[str] = ".") -> Timeline:
    """The timeline of lines as above; file names are relative to `folder`. InputError names the line."""
    heads: list[tuple[int, str]] = []
    prompts: list[list[str]] = []
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        found = _LINE.fullmatch(words)
        if found:
            heads.append((number, found["head"]))
            prompts.append([found["prompt"]])
        elif not heads or words.startswith("["):
            raise InputError(
                f"line {number}: {words[:60]!r} has no time in brackets; write it as '[00:00-00:04] a red ball moves right'"
            )
        else:
            prompts[-1].append(words)
    beats = [
        _beat(head, " ".join(lines).strip(), Path(folder), f"line {at}")
        for (at, head), lines in zip(heads, prompts, strict=True)
    ]
    return in_order(beats)


def parse_time(text: str, told: str) -> Fraction:
    """Seconds of `4`, `4.5s`, `01:04.5` or `1:01:04`; InputError, begun by `told`, for anything else."""
    found = _TIME.fullmatch(text.strip())
    if not found:
        raise InputError(f"{told}: {text.strip()!r} is no time; write it as 4.5, 01:04.5 or 1:01:04")
    hours, minutes, seconds = int(found["h"] or 0), int(found["m"] or 0), Fraction(found["s"].rstrip(".") or 0)
    for value, name, above in ((seconds, "seconds", found["m"]), (Fraction(minutes), "minutes", found["h"])):
        if above is not None and value >= 60:
            raise InputError(
                f"{told}: {text.strip()!r} has {float(value):g} {name} after a colon, where there are fewer than 60"
            )
    return 3600 * hours + 60 * minutes + seconds


def _beat(head: str, prompt: str, folder: Path, told: str) -> Beat:
    span, *options = head.split(",")
    found = _SPAN.fullmatch(span.strip())
    if not found:
        raise InputError(f"{told}: '[{head}]' has no time; write it as [00:00-00:04]")
    end = (found["end"] or "").strip()
    if not prompt:
        raise InputError(f"{told}: '[{head}]' has no prompt; say after it what it shows")
    return Beat(
        prompt,
        start=parse_time(found["start"], told),
        end=parse_time(end, told) if end else None,
        **_read_options(options, folder, told),
    )


def _read_options(options: list[str], folder: Path, told: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for option in options:
        key, equals, value = (word.strip() for word in option.partition("="))
        name = key if equals else "transition"
        if name in values:
            raise InputError(f"{told}: {name} is given twice; leave one out")
        with telling(told):
            if not equals and re.split(r"[\s(]", key)[0] in KINDS:
                values[name] = Transition.parse(key)
            elif name == "seed":
                values[name] = _seed(value)
            elif name == "motion":
                values[name] = _motion(value, folder)
            else:
                raise unknown("option", key, _OPTIONS)
    return values


def _seed(value: str) -> int:
    if not re.fullmatch(r"\d{1,19}", value):
        raise InputError(f"seed={value!r} must be a whole number of at least 0")
    return int(value)


def _motion(value: str, folder: Path) -> Any:
    from videogen.motion.serialisation import as_motion

    if not value:
        raise InputError("motion= names no file; give a motion plan, such as motion=pan.toml")
    return as_motion(folder / Path(value).expanduser())
