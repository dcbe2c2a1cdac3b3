"""Story text format: one shot per line, a time in brackets and then the prompt.

    # a comment
    [00:00-00:04] a red ball moves right
    [00:04-00:08.5, blend(8), seed=7] a blue ball moves right
        on a black background                                    (a line without brackets continues)
    [00:08.5-, cut, motion=pan.toml] a green star spins          (an open end: to the clip's end)

Times are SS, MM:SS or HH:MM:SS with a fraction, from the clip's start; `[00:04]` alone ends where the next begins.
Options after the time: a transition (cut, hold, blend(frames), blend(0.5s)), seed=, motion= (file of a motion plan).
"""

from __future__ import annotations

import os
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

from videogen.core.errors import InputError, unknown
from videogen.core.file_names import resolve_file

from .shot_spec import ShotSpec, arrange_shots, errors_at
from .timeline import KINDS, Timeline, Transition

_LINE = re.compile(r"\[(?P<head>[^\]]*)\]\s*(?P<prompt>.*)")
_SPAN = re.compile(r"(?P<start>[\d:.\s]+s?)\s*(?:(?P<dash>-|–|—|->|\bto\b)\s*(?P<end>[\d:.\s]*s?)\s*)?")
_TIME = re.compile(r"(?:(?:(?P<h>\d{1,4}):)?(?P<m>\d{1,4}):)?(?P<s>\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})\s*s?")
_OPTIONS = ("cut", "hold", "blend(8)", "blend(0.5s)", "seed", "motion")


def parse_story(text: str, folder: str | os.PathLike[str] = ".") -> Timeline:
    """The timeline of lines in this format; file names are relative to `folder`. InputError names the line."""
    heads: list[tuple[int, str]] = []
    prompts: list[list[str]] = []
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        text_line = line.strip()
        if not text_line or text_line.startswith("#"):
            continue
        found = _LINE.fullmatch(text_line)
        if found:
            heads.append((number, found["head"]))
            prompts.append([found["prompt"]])
        elif not heads or text_line.startswith("["):
            raise InputError(
                f"line {number}: {text_line[:60]!r} has no time in brackets; "
                "write it as '[00:00-00:04] a red ball moves right'"
            )
        else:
            prompts[-1].append(text_line)
    specs = [
        _read_shot(head, " ".join(lines).strip(), Path(folder), f"line {number}")
        for (number, head), lines in zip(heads, prompts, strict=True)
    ]
    return arrange_shots(specs)


def parse_time(text: str, where: str) -> Fraction:
    """Seconds of `4`, `4.5s`, `01:04.5` or `1:01:04`. InputError, prefixed with `where`, for anything else."""
    found = _TIME.fullmatch(text.strip())
    if not found:
        raise InputError(f"{where}: {text.strip()!r} is not a time; write it as 4.5, 01:04.5 or 1:01:04")
    hours, minutes, seconds = int(found["h"] or 0), int(found["m"] or 0), Fraction(found["s"].rstrip(".") or 0)
    for value, name, above in ((seconds, "seconds", found["m"]), (Fraction(minutes), "minutes", found["h"])):
        if above is not None and value >= 60:
            raise InputError(
                f"{where}: {text.strip()!r} has {float(value):g} {name} after a colon, where they must be below 60"
            )
    return 3600 * hours + 60 * minutes + seconds


def _read_shot(head: str, prompt: str, folder: Path, where: str) -> ShotSpec:
    span, *options = head.split(",")
    found = _SPAN.fullmatch(span.strip())
    if not found:
        raise InputError(f"{where}: '[{head}]' has no time; write it as [00:00-00:04]")
    end = (found["end"] or "").strip()
    if not prompt:
        raise InputError(f"{where}: '[{head}]' has no prompt; write after it what the shot shows")
    return ShotSpec(
        prompt,
        start=parse_time(found["start"], where),
        end=parse_time(end, where) if end else None,
        **_read_options(options, folder, where),
    )


def _read_options(options: list[str], folder: Path, where: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for option in options:
        key, equals, value = (part.strip() for part in option.partition("="))
        name = key if equals else "transition"
        if name in values:
            raise InputError(f"{where}: {name} is given twice; leave one out")
        with errors_at(where):
            if not equals and re.split(r"[\s(]", key)[0] in KINDS:
                values[name] = Transition.parse(key)
            elif name == "seed":
                values[name] = _read_seed(value)
            elif name == "motion":
                values[name] = _read_motion(value, folder)
            else:
                raise unknown("option", key, _OPTIONS)
    return values


def _read_seed(value: str) -> int:
    if not re.fullmatch(r"\d{1,19}", value):
        raise InputError(f"seed={value!r} must be a whole number of at least 0")
    return int(value)


def _read_motion(value: str, folder: Path) -> Any:
    from videogen.motion.serialisation import as_motion

    if not value:
        raise InputError("motion= has no file name; give a motion plan, such as motion=pan.toml")
    return as_motion(resolve_file(value, folder))
