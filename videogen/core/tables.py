"""TOML files and plain tables: read, or told what is wrong with them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .errors import InputError, nearest


def parse_toml(text: str, told: str) -> dict[str, Any]:
    """The table in a text; InputError, begun by `told`, where it is no TOML."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{told} is not TOML: {error}") from error


def read_text(path: Path, what: str = "") -> str:
    """A file's text in UTF-8; InputError where it cannot be read. what: such as `the story `."""
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"cannot read {what}{str(path)[:200]!r}: {getattr(error, 'strerror', None) or error}"
        ) from error


def check_keys(values: Mapping[str, Any], known: Iterable[str], told: str = "") -> None:
    """InputError that names the nearest key where one is not known. told: where the table stands."""
    known = list(known)
    for key in values:
        if key not in known:
            guess = nearest(str(key), known)
            hint = f"did you mean {guess!r}?" if guess else f"known: {', '.join(known)}"
            raise InputError(f"{told}{': ' if told else ''}unknown key {key!r}; {hint}")
