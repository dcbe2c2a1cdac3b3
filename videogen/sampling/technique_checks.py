"""Checks of techniques: what is given before a run, and their reports after it, which never cost the clip."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from videogen.core.errors import InputError
from videogen.core.logs import log_note

from .technique import AttachedTechnique, Technique

#: sections of a manifest's `measured` that the engine writes itself
ENGINE_SECTIONS = (
    "batch", "embeddings", "length", "loras", "motion", "negative_prompt", "no_effect", "prompt", "techniques",
    "technique_notes",
)  # fmt: skip
_LONGEST_TEXT = 200


def check_techniques_given(techniques: object) -> list[Technique]:
    """The techniques of a call. InputError for what is not a list of `Technique` objects."""
    if isinstance(techniques, str | Technique) or not isinstance(techniques, Iterable):
        raise InputError(f"techniques={techniques!r} must be a list of Technique objects, such as techniques=[...]")
    found = list(techniques)
    for technique in found:
        if isinstance(technique, type):
            raise InputError(f"techniques has the class {technique.__name__}; make an object of it")
        if not isinstance(technique, Technique):
            raise InputError(f"techniques has {technique!r}, which is not a Technique; derive from videogen.Technique")
    return found


def check_sections(techniques: Sequence[Technique]) -> None:
    """InputError where an attached technique has no section of the manifest, or another one's."""
    owners: dict[str, str] = {}
    for technique in techniques:
        if not isinstance(technique, AttachedTechnique):
            continue
        name, section = name_of(technique), getattr(technique, "section", None)
        if not isinstance(section, str) or not section:
            raise InputError(f"section={section!r} of {name} is not a name; set the one under which it is reported")
        owner = "the engine" if section in ENGINE_SECTIONS else owners.get(section)
        if owner is not None:
            raise InputError(
                f"section={section!r} of {name} is that of {owner} too, and one of both reports would be lost; give "
                "it another section, or leave one of them out"
            )
        owners[section] = name


def add_report(measured: dict[str, Any], technique: Technique, report: Any) -> None:
    """Record what a technique's `end` returned. What is not JSON is recorded as text and a section that is taken under
    a free name, with a note in the log and in `technique_notes`."""
    if not isinstance(report, dict):
        return _note(measured, f"{name_of(technique)} reported {report!r:.{_LONGEST_TEXT}}, which is not a dict")
    for key, values in report.items():
        section = str(key)
        if section in measured or section in ENGINE_SECTIONS:
            section = next(free for n in range(2, len(measured) + 3) if (free := f"{section}_{n}") not in measured)
            _note(measured, f"the section {key!r} of {name_of(technique)} is taken; its report is in {section!r}")
        try:
            json.dumps(values, sort_keys=True)
        except (TypeError, ValueError, RecursionError) as error:
            values = _as_json(values)
            _note(measured, f"{section!r} of {name_of(technique)} is not JSON ({error}); that part is recorded as text")
        measured[section] = values


def name_of(technique: Technique) -> str:
    """`module:Class` of a technique."""
    return f"{type(technique).__module__}:{type(technique).__qualname__}"


def _note(measured: dict[str, Any], note: str) -> None:
    log_note("%s", note)
    measured.setdefault("technique_notes", []).append(note)


def _as_json(values: Any) -> Any:
    """The values with NumPy's and torch's numbers as numbers and other objects as text."""
    try:
        plain = json.loads(json.dumps(values, default=_as_number_or_text))
        json.dumps(plain, sort_keys=True)
        return plain
    except (TypeError, ValueError, RecursionError):
        return repr(values)[:_LONGEST_TEXT]


def _as_number_or_text(value: Any) -> Any:
    try:
        return value.item()
    except Exception:  # anything that is not a single number
        return repr(value)[:_LONGEST_TEXT]
