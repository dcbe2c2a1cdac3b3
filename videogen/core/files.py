"""Output files are whole or absent: write beside the final name, sync, then rename over it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError


def check_output(path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """The absolute path, if a result can be written there; InputError otherwise. Cheap: call it before a long run."""
    final = Path(path).expanduser().absolute()
    if "\0" in str(path) or not final.name:
        raise InputError(f"{str(path)!r} is not a file name; give a name such as 'out.mp4'")
    if final.exists() and not overwrite:
        raise InputError(f"{final} exists; choose another name or allow it with --overwrite (overwrite=True)")
    parent = final.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise InputError(f"cannot write to {parent}: {error.strerror or error}; choose another folder") from error
    return final


@contextmanager
def atomic_path(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the final's folder, with its suffix; on success it becomes `path`, on error it is gone.

    The body may make the path a file or a folder. A kill at any instant leaves the old `path` or the new one whole.
    """
    final = check_output(path, overwrite)
    holder = Path(tempfile.mkdtemp(prefix=f".{final.stem[:40]}-", dir=final.parent))
    partial = holder / f"partial{final.suffix}"
    try:
        yield partial
        _sync(partial)
        _replace(partial, final, holder)
        _sync(final.parent)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def _replace(partial: Path, final: Path, holder: Path) -> None:
    if final.is_dir() and not final.is_symlink():  # a folder cannot be renamed over: move the old one aside first
        final.rename(holder / "old")
    elif partial.is_dir() and final.exists():
        final.unlink()
    os.replace(partial, final)


def _sync(path: Path) -> None:
    for name in [path, *(path.iterdir() if path.is_dir() else ())]:
        try:
            descriptor = os.open(name, os.O_RDONLY)
        except OSError:  # some platforms cannot open folders
            continue
        try:
            os.fsync(descriptor)
        except OSError:  # ... or sync them
            pass
        finally:
            os.close(descriptor)
