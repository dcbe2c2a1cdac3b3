"""Job folder of a long render: whose it is, which request it belongs to, and what a kill left in it.

It has `job.json` (format and request, sealed), `lock`, `chunks/` (the segments) and `versions/` (of regenerated ones).
Whatever the format, job.json stays
sealed plain data with a `format`, so that every version can read it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from videogen.core.errors import InputError, ResumeError
from videogen.core.stored_keys import JOB_KEYS, with_current_keys
from videogen.request.stored import earlier_forms, with_current_settings

from .disk import PARTIAL, DamagedError, canonical, digest, seal, sync_folder, unseal, write_durably
from .lock import FileLock
from .records import FORMAT, find_request_digest, read_entry
from .versions import VERSIONS_FOLDER

SEGMENTS_FOLDER = "chunks"  # its name in jobs of all versions
_JOB, _LOCK = "job.json", "lock"
_QUOTED = 60  # characters of a value in a message


def job_folder(output: str | os.PathLike[str]) -> Path:
    """Where the job of an output file is: next to it, `clip.mp4.job`."""
    final = Path(output).expanduser().absolute()
    return final.with_name(f"{final.name}.job")


def read_request(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What a job was started with, under today's keys. ResumeError where there is no job, or another version's."""
    return _with_current_keys(_read_job(Path(folder))["request"])


def read_about(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What describes a job and does not decide its result; empty in jobs of earlier versions. Raises as
    `read_request`."""
    about = _read_job(Path(folder)).get("about")
    return dict(about) if isinstance(about, dict) else {}


def is_job_of(folder: Path, request: Mapping[str, Any], ignored: Collection[str]) -> bool:
    """Whether the folder has an unfinished job of this resolved request (plain data), but for the `ignored` fields. A
    job that cannot be read counts: resuming it then fixes it, or says whose it is."""
    try:
        stored = read_request(folder).get("request")
    except ResumeError:
        return True
    if not isinstance(stored, dict):
        return False
    plain = json.loads(canonical(request))
    return all(stored.get(name) == plain.get(name) for name in {*stored, *plain} - set(ignored))


def read_started_job(folder: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """(what a job was started with, its first segment's state); None where no segment is done or the job is damaged."""
    try:
        stored = _read_job(Path(folder))["request"]
        first = read_entry(Path(folder) / SEGMENTS_FOLDER, 0, digest(stored))
    except (ResumeError, DamagedError):
        return None
    return None if first is None else (_with_current_keys(stored), first.state)


def lock_job(folder: Path) -> FileLock:
    """Make the folder and lock it. InputError where it has other content or cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = {entry.name for entry in folder.iterdir()}
        strange = sorted(name for name in names - {_LOCK, SEGMENTS_FOLDER, VERSIONS_FOLDER} if not name.startswith("."))
        if strange and _JOB not in names:
            raise InputError(f"{folder} has other content, such as {strange[0]}; choose another folder for the job")
        return FileLock(folder / _LOCK)
    except (InputError, ResumeError):
        raise
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot store a job in {folder}: {getattr(error, 'strerror', None) or error}; choose another folder"
        ) from error


@contextmanager
def locked_job(folder: Path) -> Iterator[FileLock]:
    """The folder's lock, for work that precedes the job: other processes are refused meanwhile. If no job is started,
    the folder is removed."""
    lock = lock_job(folder)
    try:
        yield lock
    finally:
        if lock.held and folder.is_dir() and {entry.name for entry in folder.iterdir()} <= {_LOCK}:
            shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def start_or_check(folder: Path, request: dict[str, Any], notes: list[str], about: dict[str, Any] | None = None) -> str:
    """The job's digest: of a new job, or of the one there if it is this request's. about: see `read_about`."""
    segments = folder / SEGMENTS_FOLDER
    known = find_request_digest(segments) if segments.is_dir() else None
    try:
        job = _read_job(folder) if (folder / _JOB).exists() else None
    except _DamagedJobError:
        job = None
        if known is None:
            notes.append(f"{folder / _JOB} was damaged and no segment was done; the job starts over")
    if job is not None:
        stored = _with_current_keys(job["request"])
        if known is not None or stored == request:
            _check_same(folder, stored, request)
            return digest(job["request"])  # of what is stored, whatever its keys: the segments' entries name it
        notes.append(f"{folder} was the job of another request, of which no segment was done; it starts over")
    stored = next((form for form in _earlier_forms(request) if digest(form) == known), request)
    if known not in (None, digest(stored)):
        raise ResumeError(
            f"{folder / _JOB} is damaged or missing, and its segments belong to another request or version; give the "
            "command that started the job, or delete the folder to start over"
        )
    if known is not None:
        notes.append(
            f"{folder / _JOB} was damaged or missing; its segments belong to this request, so it was rewritten"
        )
    segments.mkdir(exist_ok=True)
    sync_folder(folder.parent)
    write_durably(folder / _JOB, seal({"format": FORMAT, "request": stored, **({"about": about} if about else {})}))
    return digest(stored)


def _earlier_forms(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a job is started with, as this version and earlier ones store it."""
    if isinstance(job.get("request"), dict):
        yield from ({**job, "request": form} for form in earlier_forms(job["request"]))
    else:
        yield job


def _with_current_keys(stored: dict[str, Any]) -> dict[str, Any]:
    """What a job was started with, under today's keys."""
    job: dict[str, Any] = with_current_keys(stored, JOB_KEYS)
    if isinstance(job.get("request"), dict):
        job["request"] = with_current_settings(job["request"])
    return job


class _DamagedJobError(ResumeError):
    """`job.json` is not as it was written."""


def _read_job(folder: Path) -> dict[str, Any]:
    """`job.json`: format and request. ResumeError where it is missing, damaged or another version's."""
    try:
        job = unseal((folder / _JOB).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise ResumeError(f"{folder} has no job to resume: it has no {_JOB}") from None
    except OSError as error:
        raise ResumeError(f"{folder / _JOB} cannot be read: {error.strerror or error}") from error
    except DamagedError as error:
        raise _DamagedJobError(
            f"{folder / _JOB} is damaged: {error}; give the command that started the job, which fixes it"
        ) from error
    if job.get("format") != FORMAT or not isinstance(job.get("request"), dict):
        raise ResumeError(
            f"{folder} is a job of format {job.get('format')!r}, and this version resumes format {FORMAT} only; "
            "finish it with the version that started it, or delete the folder to start over"
        )
    return job


def _check_same(folder: Path, was: dict[str, Any], now: dict[str, Any]) -> None:
    different = list(_differences(was, now))
    if different:
        first = "; ".join(f"{name} was {_quote(a)} and is {_quote(b)}" for name, a, b in different[:3])
        more = f"; and {', '.join(name for name, _, _ in different[3:])}" if len(different) > 3 else ""
        raise ResumeError(
            f"{folder} is the job of another request: {first}{more}; give that one, or delete the folder to start over"
        )


_ABSENT = object()


def _differences(was: Any, now: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted name, old value, new value) of each difference."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in sorted({*was, *now}):
            yield from _differences(was.get(key, _ABSENT), now.get(key, _ABSENT), f"{name}.{key}" if name else key)
    elif was != now or isinstance(was, bool) != isinstance(now, bool):
        yield name, was, now


def _quote(value: Any) -> str:
    text = "not there" if value is _ABSENT else repr(value)
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}..."


def finished_name(folder: Path) -> str:
    """The prefix of the names of this job's folders that were finished and not yet removed."""
    return f".{folder.name}.finished-"


def sweep(folder: Path) -> None:
    """Remove what a kill left: a finished job of this name, and partial files."""
    for path in folder.parent.iterdir():
        if path.name.startswith(finished_name(folder)):
            shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(f".*{PARTIAL}"):
        path.unlink()
