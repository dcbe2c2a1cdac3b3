"""File lock of a job: one process at a time, by the system's own lock, which a killed process cannot leave behind.

The file names its holder, for the message to a second process; that note never decides anything.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from videogen.core.errors import InputError, ResumeError

_HELD_ERRORS = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)


class FileLock:
    """Locks `path` until `release`. ResumeError, with the holder's pid, where another process has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        while True:
            self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                _lock(self._descriptor)
                if self._is_at_its_name():
                    break
                self.release()  # its last holder finished and removed the file meanwhile
            except OSError as error:
                holder = _read_holder(self._descriptor)
                self.release()
                if error.errno in _HELD_ERRORS:
                    raise ResumeError(
                        f"{path.parent} is being written by {holder}; wait until it ends, or end it"
                    ) from error
                raise InputError(
                    f"{path.parent} is on a disk without file locks ({error.strerror}); use a local disk"
                ) from error
            except BaseException:
                self.release()
                raise
        self._write_holder()

    @property
    def held(self) -> bool:
        """Whether it is not yet released."""
        return self._descriptor is not None

    def release(self) -> None:
        """Release the lock; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _is_at_its_name(self) -> bool:
        assert self._descriptor is not None
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _write_holder(self) -> None:
        assert self._descriptor is not None
        with suppress(OSError):  # a full disk: the lock works without the note
            os.ftruncate(self._descriptor, 0)
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            os.write(
                self._descriptor,
                json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}).encode(),
            )


def _read_holder(descriptor: int) -> str:
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        note = json.loads(os.read(descriptor, 4096))
        return f"process {int(note['pid'])} on {note['host']} since {note['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # beyond the note, which others may read
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
