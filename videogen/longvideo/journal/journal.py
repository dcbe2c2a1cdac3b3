"""Journal of a long render: every finished segment is on disk, so that the same command resumes after a kill.

    with Journal.open(job_folder("clip.mp4"), request) as journal:      # new, or what an earlier run left
        for index in range(len(journal), segments):
            journal.append(SegmentRecord(index, journal.latents_done, latents, {"tail": predictions}, state))
        ...                                                             # decode journal.latents(a, b), write the video
        journal.finish()                                                # the video has its name: the folder goes

A changed request is refused, naming the field; a damaged segment and all after it are regenerated, which `notes` and
the log report. Not here: whose folder it is (`job`), how a segment is stored (`records`).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from videogen.core.errors import InputError, MediaError, ResumeError
from videogen.core.logs import log_note

from .disk import DamagedError, canonical, sync_folder
from .job import SEGMENTS_FOLDER, finished_name, lock_job, start_or_check, sweep
from .lock import FileLock
from .records import JournalEntry, SegmentRecord, read_entry, read_segment, remove_others, write_segment
from .versions import VERSIONS_FOLDER, list_versions, read_version, write_version

if TYPE_CHECKING:
    import torch


class Journal:
    """The segments of one render, in order. Made by `open`; use it in a `with` block, or `close` it.

    notes: what was wrong on opening, and was fixed. len(journal): segments that are done.
    """

    def __init__(
        self, folder: Path, lock: FileLock, request: str, entries: list[JournalEntry], notes: list[str]
    ) -> None:
        self.folder, self.notes = folder, notes
        self._lock, self._request, self._entries = lock, request, entries

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        request: Mapping[str, Any],
        lock: FileLock | None = None,
        *,
        about: Mapping[str, Any] | None = None,
    ) -> Journal:
        """Start a job, or resume the one in `folder`.

        request: plain data, all that decides the result; about: plain data that describes a job and is not compared,
        stored when it starts (`job.read_about`); lock: of a folder that is locked already (`job.locked_job`);
        it is the journal's from now on. ResumeError: the request is another (its fields are named), the folder is
        another version's, or another process has it. InputError: the folder has other content or cannot be written.
        """
        path, plain = Path(folder).expanduser().absolute(), json.loads(canonical(request))
        lock = lock_job(path) if lock is None else lock
        try:
            notes: list[str] = []
            key = start_or_check(path, plain, notes, dict(about or {}))
            sweep(path)
            entries = _read_good_entries(path / SEGMENTS_FOLDER, key, notes)
            remove_others(path / SEGMENTS_FOLDER, entries)
        except BaseException as error:
            lock.release()
            if isinstance(error, OSError):
                raise InputError(
                    f"cannot store a job in {path}: {error.strerror or error}; choose another folder"
                ) from error
            raise
        for note in notes:
            log_note("%s", note)
        return cls(path, lock, key, entries, notes)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def latents_done(self) -> int:
        """Latent frames in the segments that are done: where the next one starts."""
        return self._entries[-1].stop if self._entries else 0

    def append(self, segment: SegmentRecord) -> None:
        """Store the next segment; when this returns it survives a kill and a power cut. An error leaves the segments
        before it as they are.

        MediaError where the disk is full or fails: the same command resumes later.
        """
        if (segment.index, segment.start) != (len(self), self.latents_done):
            raise InputError(
                f"segment {segment.index} from latent {segment.start} on is not the next one, which is {len(self)} "
                f"from {self.latents_done} on"
            )
        with self._explained(segment.index):
            self._entries.append(write_segment(self.folder / SEGMENTS_FOLDER, segment, self._request))

    def replace(self, segment: SegmentRecord) -> None:
        """Put another version of a segment in its place, at one instant; the segments around it stay as they are."""
        old = self._entry(segment.index)
        if (segment.start, segment.stop) != (old.start, old.stop):
            raise InputError(
                f"segment {segment.index} has latents {old.start} to {old.stop}, its replacement {segment.start} to "
                f"{segment.stop}"
            )
        with self._explained(segment.index):
            self._entries[segment.index] = write_segment(self.folder / SEGMENTS_FOLDER, segment, self._request)
            remove_others(self.folder / SEGMENTS_FOLDER, self._entries)

    def versions(self, index: int) -> list[int]:
        """The numbers of a segment's stored versions; none where it was never regenerated."""
        return list_versions(self.folder, index)

    def read_version(self, index: int, number: int) -> SegmentRecord:
        """A stored version of a segment, its latents on the CPU. InputError where there is none, ResumeError where it
        was damaged."""
        try:
            record = read_version(self.folder, index, number, self._request)
        except DamagedError as error:
            raise ResumeError(
                f"version {number} of segment {index} in {self.folder} is damaged ({error}); to do without it, "
                f"delete {self.folder / VERSIONS_FOLDER / str(number)}"
            ) from error
        if record is None:
            stored = ", ".join(map(str, self.versions(index))) or "none"
            raise InputError(f"segment {index} has no version {number}; stored are: {stored}")
        return record

    def show_version(self, segment: SegmentRecord) -> None:
        """Put another version of a segment in its place, as `replace`; it and the one that was there are stored."""
        with self._explained(segment.index):
            for record in (self.read(segment.index), segment):
                write_version(self.folder, record, self._request)
        self.replace(segment)

    def span(self, index: int) -> tuple[int, int]:
        """(start, stop) of a segment's latent frames."""
        entry = self._entry(index)
        return entry.start, entry.stop

    def note(self, text: str) -> None:
        """Add to `notes`, and to the log."""
        self.notes.append(text)
        log_note("%s", text)

    def state(self, index: int) -> dict[str, Any]:
        """A segment's plain data, without its tensors."""
        return dict(self._entry(index).state)

    def read(self, index: int) -> SegmentRecord:
        """A segment, its tensors on the CPU. ResumeError where it was damaged since the journal was opened."""
        try:
            return read_segment(self.folder / SEGMENTS_FOLDER, self._entry(index))
        except DamagedError as error:
            raise ResumeError(
                f"segment {index} of {self.folder} is damaged ({error}); give the same command to regenerate it"
            ) from error

    def latents(self, start: int, stop: int) -> torch.Tensor:
        """Latent frames start to stop of the video, [1, c, stop - start, h, w], across segments."""
        import torch

        if not 0 <= start < stop <= self.latents_done:
            raise InputError(f"latent frames {start} to {stop} are not in this journal, which has {self.latents_done}")
        inside = [entry for entry in self._entries if entry.start < stop and start < entry.stop]
        parts = [(entry, self.read(entry.index).latents) for entry in inside]
        return torch.cat([part[:, :, max(0, start - entry.start) : stop - entry.start] for entry, part in parts], 2)

    def finish(self) -> None:
        """End the job, at one instant, once the video is complete and has its name; its folder is removed."""
        aside = self.folder.with_name(f"{finished_name(self.folder)}{os.getpid()}")
        try:
            os.rename(self.folder, aside)
            sync_folder(self.folder.parent)
        except OSError:  # Windows, where our own lock is in the way
            aside = self.folder
        self.close()
        shutil.rmtree(aside, ignore_errors=True)

    def close(self) -> None:
        """Release the job as it is: it can be opened again."""
        self._lock.release()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _entry(self, index: int) -> JournalEntry:
        if not 0 <= index < len(self):
            raise InputError(f"segment {index} is not in this journal, which has {len(self)}, counted from 0")
        return self._entries[index]

    @contextmanager
    def _explained(self, index: int) -> Iterator[None]:
        """An OSError of the block becomes a MediaError that says what to do."""
        try:
            yield
        except OSError as error:
            failure = MediaError(
                f"storing segment {index} in {self.folder} failed: {error.strerror or error} "
                f"({_free_space(self.folder)} free); the {len(self)} segments that were done are stored: make room and "
                "give the same command"
            )
            failure.exit_code = 1  # not a usage error
            raise failure from error


def _read_good_entries(folder: Path, request: str, notes: list[str]) -> list[JournalEntry]:
    """The entries from the first on that are intact and consecutive; notes say which one is not."""
    found = len(list(folder.glob("*.json")))
    entries: list[JournalEntry] = []
    reason = "its entry is missing"
    try:
        while entry := read_entry(folder, len(entries), request):
            if entry.start != (entries[-1].stop if entries else 0):
                raise DamagedError("it does not follow the one before")
            entries.append(entry)
    except DamagedError as error:
        reason = str(error)
    lost = found - len(entries)
    if lost:
        resumed = (
            f"resuming after segment {len(entries) - 1}, the last good one"
            if entries
            else "none is left: starting over"
        )
        after = f" {lost - 1} after it are regenerated too." if lost > 1 else ""
        notes.append(f"segment {len(entries)} of {found} in {folder.parent} is damaged ({reason}); {resumed}.{after}")
    return entries


def _free_space(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free / 2**20:.0f} MiB"
    except OSError:
        return "unknown space"
