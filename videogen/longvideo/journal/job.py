"""The job folder itself: whose it is, which request it is of, and what is left of it after a kill.

It holds `job.json` (format and request, sealed), `lock` and `chunks/`. Whatever the format, job.json stays sealed plain
data with a `format`, so that every version can tell.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from videogen.core.errors import InputError, ResumeError

from .disk import PARTIAL, DamagedError, digest, seal, sync_folder, unseal, write_whole
from .lock import FileLock
from .records import FORMAT, read_record, request_of_any

CHUNKS = "chunks"
_JOB, _LOCK = "job.json", "lock"
_SHOWN = 60  # characters of a value in a message


def job_folder(output: str | os.PathLike[str]) -> Path:
    """Where the job of an output file lies: beside it, `clip.mp4.job`."""
    final = Path(output).expanduser().absolute()
    return final.with_name(f"{final.name}.job")


def read_request(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What a job was begun with, to begin it again. ResumeError where there is no job, or one of another version."""
    return dict(_read_job(Path(folder))["request"])


def begun(folder: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """(what a job was begun with, its first chunk's state); None where no chunk is done, or the job is damaged."""
    try:
        request = read_request(folder)
        first = read_record(Path(folder) / CHUNKS, 0, digest(request))
    except (ResumeError, DamagedError):
        return None
    return None if first is None else (request, first.state)


def take(folder: Path) -> FileLock:
    """Make the folder and lock it; InputError where it is somebody else's or cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = {entry.name for entry in folder.iterdir()}
        strange = sorted(name for name in names - {_LOCK, CHUNKS} if not name.startswith("."))
        if strange and _JOB not in names:
            raise InputError(f"{folder} holds other things, such as {strange[0]}; choose another folder for the job")
        return FileLock(folder / _LOCK)
    except (InputError, ResumeError):
        raise
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot keep a job in {folder}: {getattr(error, 'strerror', None) or error}; choose another folder"
        ) from error


@contextmanager
def taken(folder: Path) -> Iterator[FileLock]:
    """The folder's lock, for work that comes before the job: others are refused meanwhile. Where no job is begun, no
    folder stays."""
    lock = take(folder)
    try:
        yield lock
    finally:
        if lock.held and folder.is_dir() and {entry.name for entry in folder.iterdir()} <= {_LOCK}:
            shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def begin_or_check(folder: Path, request: dict[str, Any], notes: list[str]) -> str:
    """The job's digest: of a new job, or of the one there, if it is this request's."""
    chunks = folder / CHUNKS
    known = request_of_any(chunks) if chunks.is_dir() else None
    try:
        job = _read_job(folder) if (folder / _JOB).exists() else None
    except _DamagedJob:
        job = None
        if known is None:
            notes.append(f"{folder / _JOB} was damaged and no chunk was done; the job begins anew")
    if job is not None and (known is not None or job["request"] == request):
        _check_same(folder, job["request"], request)
        return digest(job["request"])
    if job is not None:
        notes.append(f"{folder} was the job of another request, of which no chunk was done; it begins anew")
    if known not in (None, digest(request)):
        raise ResumeError(
            f"{folder / _JOB} is damaged or gone, and its chunks are not of this request (or of another version); give the command "
            "that began the job, or delete the folder to start anew"
        )
    if known is not None:
        notes.append(f"{folder / _JOB} was damaged or gone; its chunks are of this request, so it was written anew")
    chunks.mkdir(exist_ok=True)
    sync_folder(folder.parent)
    write_whole(folder / _JOB, seal({"format": FORMAT, "request": request}))
    return digest(request)


class _DamagedJob(ResumeError):
    """`job.json` is not as it was written."""


def _read_job(folder: Path) -> dict[str, Any]:
    """`job.json`: format and request. ResumeError where it is gone, damaged or another version's."""
    try:
        job = unseal((folder / _JOB).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise ResumeError(f"{folder} holds no job to go on with: it has no {_JOB}") from None
    except OSError as error:
        raise ResumeError(f"{folder / _JOB} cannot be read: {error.strerror or error}") from error
    except DamagedError as error:
        raise _DamagedJob(
            f"{folder / _JOB} is damaged: {error}; give the command that began the job, which mends it"
        ) from error
    if job.get("format") != FORMAT or not isinstance(job.get("request"), dict):
        raise ResumeError(
            f"{folder} is a job of format {job.get('format')!r}, this version goes on with format {FORMAT} only; finish it with the "
            "version that began it, or delete the folder to start anew"
        )
    return job


def _check_same(folder: Path, was: dict[str, Any], now: dict[str, Any]) -> None:
    different = list(_differences(was, now))
    if different:
        told = "; ".join(f"{name} was {_short(a)} and is {_short(b)}" for name, a, b in different[:3])
        more = f"; and {', '.join(name for name, _, _ in different[3:])}" if len(different) > 3 else ""
        raise ResumeError(
            f"{folder} is the job of another request: {told}{more}; give that one, or delete the folder to start anew"
        )


_ABSENT = object()


def _differences(was: Any, now: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted name, old value, new value) of what differs."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in sorted({*was, *now}):
            yield from _differences(was.get(key, _ABSENT), now.get(key, _ABSENT), f"{name}.{key}" if name else key)
    elif was != now or isinstance(was, bool) != isinstance(now, bool):
        yield name, was, now


def _short(value: Any) -> str:
    told = "not there" if value is _ABSENT else repr(value)
    return told if len(told) <= _SHOWN else f"{told[:_SHOWN]}..."


def finished_name(folder: Path) -> str:
    """How the names of this job's folders begin that were finished and not yet removed."""
    return f".{folder.name}.finished-"


def sweep(folder: Path) -> None:
    """Remove what a kill left: of a finished job of this name, and half-written files."""
    for path in folder.parent.iterdir():
        if path.name.startswith(finished_name(folder)):
            shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(f".*{PARTIAL}"):
        path.unlink()
