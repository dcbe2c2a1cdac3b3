"""File names that a user's file or text has in it, and a folder in which they must be.

A server that renders for others reads no file outside of a folder of its own: within `files_within(folder)`, the names
in stories and motion plans are refused where they lead out of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from .errors import InputError

_root: ContextVar[Path | None] = ContextVar("videogen_file_root", default=None)


@contextmanager
def files_within(folder: Path) -> Iterator[None]:
    """Within it, `resolve_file` refuses files that are not in this folder."""
    token = _root.set(folder)
    try:
        yield
    finally:
        _root.reset(token)


def resolve_file(name: str, folder: Path) -> Path:
    """The path of a name that is relative to a folder, or absolute. InputError, without reading the file, for one that
    is outside of the folder of `files_within`, by `..`, an absolute name or a symbolic link."""
    root = _root.get()
    try:
        path = folder / Path(name).expanduser()
        if root is None or path.resolve().is_relative_to(root.resolve()):
            return path
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{name!r} is not a file name ({error})") from error
    raise InputError(f"{name!r} is not in the folder {root.name!r}, outside of which no file is read; copy it there")
