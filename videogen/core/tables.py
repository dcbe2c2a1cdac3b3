"""TOML files and plain tables: reading, and errors that say what is wrong with them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .errors import InputError, nearest


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """The table in a text; InputError, prefixed with `where`, where it is not TOML."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where} is not TOML: {error}") from error


def read_text(path: Path, what: str = "") -> str:
    """A file's text in UTF-8; InputError where it cannot be read. what: such as `the story `."""
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"cannot read {what}{str(path)[:200]!r}: {getattr(error, 'strerror', None) or error}"
        ) from error


def check_keys(values: Mapping[str, Any], known: Iterable[str], where: str = "") -> None:
    """InputError for an unknown key, naming the nearest known one. where: the table's place, for the message."""
    known = list(known)
    for key in values:
        if key not in known:
            guess = nearest(str(key), known)
            hint = f"did you mean {guess!r}?" if guess else f"known: {', '.join(known)}"
            raise InputError(f"{where}{': ' if where else ''}unknown key {key!r}; {hint}")
