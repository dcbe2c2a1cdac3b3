"""Checks of a request's conditions against what a model takes, before anything is loaded. No torch here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videogen.core.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    from videogen.backbones.resolvable import ResolvableModel

    from .conditions import Conditions


def check_conditions(conditions: Conditions, backbone: ResolvableModel) -> None:
    """UnsupportedError for a condition that the model does not take, InputError for one that it needs and that is not
    given."""
    given = conditions.keys()
    for key in given:
        if not _takes(backbone, key):
            takes = ", ".join(_describe(one) for one in backbone.accepts) or "a prompt alone"
            raise UnsupportedError(f"{key} is given, but {backbone.name!r} takes {takes}")
    for need in backbone.needs:
        alternatives = need.split("|")
        if not any(_is_met(one, given) for one in alternatives):
            options = " or ".join(f"--{_as_option(one)}" for one in alternatives)
            names = " or ".join(_describe(one) for one in alternatives)
            raise InputError(f"{backbone.name!r} needs {names}; give it with {options}")


def _takes(backbone: ResolvableModel, key: str) -> bool:
    kind, _, name = key.partition(":")
    return key in backbone.accepts or (bool(name) and f"{kind}:" in backbone.accepts)


def _is_met(need: str, given: tuple[str, ...]) -> bool:
    return need in given or (need.endswith(":") and any(key.startswith(need) for key in given))


def _describe(key: str) -> str:
    kind, _, name = key.partition(":")
    return f"{kind} {name}" if name else (f"{kind} (any name)" if key.endswith(":") else kind)


def _as_option(key: str) -> str:
    """The command line's option of a condition."""
    kind, _, name = key.partition(":")
    if kind == "control":
        return f"control {name or 'NAME'}=FILE"
    return f"{kind.replace('_', '-')} FILE"
