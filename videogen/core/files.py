"""Atomic output files: written next to the final name, synced, then renamed over it, so a file is complete or
absent."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path

from .errors import InputError, SavedElsewhereError

#: The names in a folder written by videogen; only such a folder, or an empty one, is ever replaced.
_OURS = ("frame_*.png", "manifest.json")
_WORK = ".partial-"


def digest(path: Path) -> str:
    """A short hash of a file's content, or of the names and contents of a folder's files. InputError where it cannot be
    read."""
    found = hashlib.sha256()
    try:
        for part in sorted(path.iterdir()) if path.is_dir() else [path]:
            if part.is_file() or not path.is_dir():
                found.update(part.name.encode() + part.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {str(path)!r}: {error}") from error
    return found.hexdigest()[:16]


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, or of the names and contents of a folder's files. InputError where it cannot be
    read."""
    state = hashlib.sha256()
    try:
        if path.is_dir():
            for part in sorted(part for part in path.iterdir() if part.is_file()):
                state.update(f"{part.name}:{sha256(part)}\n".encode())
            return state.hexdigest()
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                state.update(block)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {str(path)!r}: {error}") from error
    return state.hexdigest()


def absolute_name(name: str, path: str | os.PathLike[str]) -> str:
    """A file's name that is valid from any working directory; name: of the argument. InputError for an empty one, which
    would be the working directory."""
    if not str(path).strip():
        raise InputError(f"{name}={str(path)!r} is not a file name; give the path of a file, or leave {name} out")
    return str(Path(path).expanduser().absolute())


def check_output(path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """The absolute path, if a result can be written there; InputError otherwise. Creates nothing: call it before a
    long run."""
    try:
        final = Path(path).expanduser().absolute()
        there, is_folder = os.path.lexists(final), final.is_dir()
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{str(path)!r} is not a file name ({error}); give a name such as 'out.mp4'") from error
    if "\0" in str(path) or not final.name:
        raise InputError(f"{str(path)!r} is not a file name; give a name such as 'out.mp4'")
    if is_folder and (final.suffix or not _is_ours(final)):
        raise InputError(f"{final} is a folder with other things in it, which is never replaced; choose another name")
    if final.is_symlink():
        raise InputError(
            f"{final} is a symbolic link, which is never replaced; name the file itself: {final.resolve()}"
        )
    if there and not overwrite:
        raise InputError(f"{final} exists; choose another name or allow it with --overwrite (overwrite=True)")
    _check_writable(final)
    return final


def _is_ours(folder: Path) -> bool:
    return all(any(fnmatch(entry.name, pattern) for pattern in _OURS) for entry in folder.iterdir())


def _check_writable(final: Path) -> None:
    """InputError where the nearest existing parent folder is not writable."""
    parent = final.parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    try:
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise InputError(f"cannot write to {final.parent}: {error.strerror or error}; choose another folder") from error


def free_output(path: Path, overwrite: bool = False) -> Path:
    """The path where a result that is ready can be written: `path`, or the next free name where another process took it
    since `check_output`."""
    taken = os.path.lexists(path) and not overwrite
    if taken or (path.is_dir() and (path.suffix or not _is_ours(path))):
        return _free_name(path)
    return path


@contextmanager
def atomic_path(path: str | os.PathLike[str], overwrite: bool = False, within: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path next to `path`, with its suffix. On success it is renamed to `path`, on error it is
    removed.

    within: another folder of the same file system to work in, whose owner sweeps it (`sweep_partials`) after a kill.

    The body may make the path a file or a folder. A kill at any instant leaves the complete old file or the complete
    new one (no system exchanges two folders at once, so the old folder may be left under a hidden name). Where another
    process took the name in the meantime and it may not be overwritten, or where the old file cannot be replaced, the
    result is stored under the next free name and a SavedElsewhereError says so. An OSError names the final path.
    """
    final = check_output(path, overwrite)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        holder = Path(tempfile.mkdtemp(prefix=_WORK if within else f".{final.stem[:40]}-", dir=within or final.parent))
    except OSError as error:
        raise InputError(f"cannot write to {final.parent}: {error.strerror or error}; choose another folder") from error
    partial = holder / f"partial{final.suffix}"
    try:
        yield partial
        _grant_default_mode(partial)
        _sync(partial)
        reached = _commit(partial, final, holder, overwrite)
        _sync(final.parent)
    except OSError as error:
        if error.errno is not None and (error.filename is None or str(error.filename).startswith(str(holder))):
            error.filename = str(final)
        raise
    finally:
        shutil.rmtree(holder, ignore_errors=True)
    if reached != final:
        raise SavedElsewhereError(f"{final} {_why_elsewhere(overwrite)}; the result is {reached}", reached)


def _why_elsewhere(overwrite: bool) -> str:
    if overwrite:
        return "cannot be replaced (is it another user's, or a folder with other things in it?) and is left alone"
    return "was created by another process in the meantime and is left alone"


def sweep_partials(folder: Path) -> None:
    """Remove the leftovers of killed `atomic_path(..., within=folder)` blocks."""
    for holder in folder.glob(f"{_WORK}*"):
        shutil.rmtree(holder, ignore_errors=True)


def _commit(partial: Path, final: Path, holder: Path, overwrite: bool) -> Path:
    """Rename the result to its final name, or to the next free one, and return the name actually used."""
    if not overwrite:
        return _claim(partial, final)
    try:
        return _replace(partial, final, holder)
    except OSError:  # such as another user's file in a folder with the sticky bit
        if not os.path.lexists(final):
            raise
        return _claim(partial, _free_name(final))


def _replace(partial: Path, final: Path, holder: Path) -> Path:
    """Rename the result over what is there. OSError where that cannot be replaced."""
    if final.is_dir() and not final.is_symlink():  # a folder cannot be renamed over: move the old one aside first
        if not _is_ours(final):
            raise FileExistsError(errno.EEXIST, "a folder with other things in it", str(final))
        aside = final.rename(holder / "old")
        try:
            os.replace(partial, final)
        except OSError:
            aside.rename(final)
            raise
        return final
    if partial.is_dir() and final.exists():
        final.unlink()
    os.replace(partial, final)
    return final


def _claim(partial: Path, final: Path) -> Path:
    """Rename without overwriting: to `final`, or to the next free name where another process was faster."""
    wanted = final
    while True:
        try:
            if partial.is_dir():
                if os.path.lexists(final):
                    raise FileExistsError
                os.rename(partial, final)
            else:
                os.link(partial, final)  # fails where the name is taken, atomically between processes
            return final
        except FileExistsError:
            final = _free_name(wanted)
        except OSError:  # a file system without hard links
            if os.path.lexists(final):
                final = _free_name(wanted)
                continue
            os.replace(partial, final)
            return final


def _free_name(taken: Path) -> Path:
    number = 2
    while os.path.lexists(free := taken.with_name(f"{taken.stem}-{number}{taken.suffix}")):
        number += 1
    return free


def _grant_default_mode(path: Path) -> None:
    """Give a file the permissions of any new file: libraries write theirs for their owner alone."""
    if path.is_file():
        mask = os.umask(0)
        os.umask(mask)
        with suppress(OSError):
            path.chmod(0o666 & ~mask)


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
