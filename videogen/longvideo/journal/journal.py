"""A long render's job folder: every finished chunk is on disk, so that the same command goes on after a kill at any
instant.

    with Journal.open(job_folder("clip.mp4"), request) as journal:      # new, or what an earlier run left
        for index in range(len(journal), chunks):
            journal.append(Chunk(index, journal.latents_done, latents, {"tail": predictions}, state))
        ...                                                             # decode journal.latents(a, b), write the video
        journal.finish()                                                # the video has its name: the folder goes

A changed request is refused, naming the field; a damaged chunk and all after it are made anew, which `notes` and the
log tell. Not here: whose folder it is (`job`), how a chunk lies on disk (`records`).
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from videogen.core.errors import InputError, MediaError, ResumeError

from .disk import DamagedError, canonical, sync_folder
from .job import CHUNKS, begin_or_check, finished_name, sweep, take
from .lock import FileLock
from .records import Chunk, Record, keep_only, read_chunk, read_record, write_chunk

if TYPE_CHECKING:
    import torch

_log = logging.getLogger("videogen")


class Journal:
    """The chunks of one render, in order. Made by `open`; use it in a `with` block, or `close` it.

    notes: what was found wrong on opening, and mended. len(journal): chunks that are done.
    """

    def __init__(self, folder: Path, lock: FileLock, request: str, records: list[Record], notes: list[str]) -> None:
        self.folder, self.notes = folder, notes
        self._lock, self._request, self._records = lock, request, records

    @classmethod
    def open(cls, folder: str | os.PathLike[str], request: Mapping[str, Any], lock: FileLock | None = None) -> Journal:
        """Begin a job, or go on with the one in `folder`. request: plain data, all that decides the result; lock: of a
        folder that was taken before (`job.taken`), which is the journal's from now on.

        ResumeError: the request is another (its fields are named), the folder another version's, or another process has
        it. InputError: the folder holds other things or cannot be written.
        """
        path, asked = Path(folder).expanduser().absolute(), json.loads(canonical(request))
        lock = take(path) if lock is None else lock
        try:
            notes: list[str] = []
            key = begin_or_check(path, asked, notes)
            sweep(path)
            records = _good(path / CHUNKS, key, notes)
            keep_only(path / CHUNKS, records)
        except BaseException as error:
            lock.release()
            if isinstance(error, OSError):
                raise InputError(
                    f"cannot keep a job in {path}: {error.strerror or error}; choose another folder"
                ) from error
            raise
        for note in notes:
            _log.warning("%s", note)
        return cls(path, lock, key, records, notes)

    def __len__(self) -> int:
        return len(self._records)

    @property
    def latents_done(self) -> int:
        """Latent frames in the chunks that are done: where the next one starts."""
        return self._records[-1].stop if self._records else 0

    def append(self, chunk: Chunk) -> None:
        """Keep the next chunk; when this returns it survives a kill and a power cut. On any error the chunks before it
        stand.

        MediaError where the disk is full or fails: the same command goes on later.
        """
        if (chunk.index, chunk.start) != (len(self), self.latents_done):
            raise InputError(
                f"chunk {chunk.index} from latent {chunk.start} on is not the next; it is {len(self)} from {self.latents_done} on"
            )
        with self._told(chunk.index):
            self._records.append(write_chunk(self.folder / CHUNKS, chunk, self._request))

    def replace(self, chunk: Chunk) -> None:
        """Put another version of a chunk in its place, at one instant; the chunks around it stay as they are."""
        old = self._record(chunk.index)
        if (chunk.start, chunk.stop) != (old.start, old.stop):
            raise InputError(
                f"chunk {chunk.index} has latents {old.start} to {old.stop}, what is to replace it {chunk.start} to {chunk.stop}"
            )
        with self._told(chunk.index):
            self._records[chunk.index] = write_chunk(self.folder / CHUNKS, chunk, self._request)
            keep_only(self.folder / CHUNKS, self._records)

    def span(self, index: int) -> tuple[int, int]:
        """(start, stop) of a chunk's latent frames."""
        record = self._record(index)
        return record.start, record.stop

    def note(self, text: str) -> None:
        """Add to `notes`, and to the log."""
        self.notes.append(text)
        _log.warning("%s", text)

    def state(self, index: int) -> dict[str, Any]:
        """A chunk's plain data, without its tensors."""
        return dict(self._record(index).state)

    def read(self, index: int) -> Chunk:
        """A chunk, its tensors on the CPU. ResumeError where it was damaged since the journal was opened."""
        try:
            return read_chunk(self.folder / CHUNKS, self._record(index))
        except DamagedError as error:
            raise ResumeError(
                f"chunk {index} of {self.folder} is damaged ({error}); give the same command to make it anew"
            ) from error

    def latents(self, start: int, stop: int) -> torch.Tensor:
        """Latent frames start to stop of the video, [1, c, stop - start, h, w], whatever chunks they are in."""
        import torch

        if not 0 <= start < stop <= self.latents_done:
            raise InputError(f"latent frames {start} to {stop} are not in this journal, which has {self.latents_done}")
        inside = [record for record in self._records if record.start < stop and start < record.stop]
        parts = [(record, self.read(record.index).latents) for record in inside]
        return torch.cat([part[:, :, max(0, start - record.start) : stop - record.start] for record, part in parts], 2)

    def finish(self) -> None:
        """The video is whole and has its name: the job ceases to be, at one instant, and its folder goes."""
        aside = self.folder.with_name(f"{finished_name(self.folder)}{os.getpid()}")
        try:
            os.rename(self.folder, aside)
            sync_folder(self.folder.parent)
        except OSError:  # Windows, where our own lock is in the way
            aside = self.folder
        self.close()
        shutil.rmtree(aside, ignore_errors=True)

    def close(self) -> None:
        """Let the job rest as it is: it can be opened again."""
        self._lock.release()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _record(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise InputError(f"chunk {index} is not in this journal, which has {len(self)}, counted from 0")
        return self._records[index]

    @contextmanager
    def _told(self, index: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            failure = MediaError(
                f"keeping chunk {index} in {self.folder} failed: {error.strerror or error} ({_free(self.folder)} free); the "
                f"{len(self)} chunks that were done are kept: make room and give the same command"
            )
            failure.exit_code = 1  # no mistake of the user's
            raise failure from error


def _good(folder: Path, request: str, notes: list[str]) -> list[Record]:
    """The chunks from the first on that are whole and follow each other; the first that is not, and all after it, are
    noted."""
    found = len(list(folder.glob("*.json")))
    records: list[Record] = []
    reason = "its record is gone"
    try:
        while record := read_record(folder, len(records), request):
            if record.start != (records[-1].stop if records else 0):
                raise DamagedError("it does not follow the one before")
            records.append(record)
    except DamagedError as error:
        reason = str(error)
    lost = found - len(records)
    if lost:
        goes_on = (
            f"going on from chunk {len(records) - 1}, the last good one" if records else "none is left: beginning anew"
        )
        after = f" {lost - 1} after it are made anew too." if lost > 1 else ""
        notes.append(f"chunk {len(records)} of {found} in {folder.parent} is damaged ({reason}); {goes_on}.{after}")
    return records


def _free(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free / 2**20:.0f} MiB"
    except OSError:
        return "nobody knows how much is"
