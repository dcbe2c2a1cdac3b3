"""One process at a time on a job: the system's own lock on a file, which a killed process cannot leave behind.

The file says who holds it, for the message to whoever comes second; what it says never decides anything.
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

_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)


class FileLock:
    """Holds `path` from its making to `release`. ResumeError, with the holder's pid, where another process has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        while True:
            self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                _lock(self._descriptor)
                if self._is_at_its_name():
                    break
                self.release()  # its last holder finished, and took the file away, as we came
            except OSError as error:
                note = _holder(self._descriptor)
                self.release()
                if error.errno in _TAKEN:
                    raise ResumeError(
                        f"{path.parent} is being written by {note}; wait until it ends, or end it"
                    ) from error
                raise InputError(
                    f"{path.parent} lies on a disk without file locks ({error.strerror}); use a local disk"
                ) from error
            except BaseException:
                self.release()
                raise
        self._say_who()

    @property
    def held(self) -> bool:
        """Until it is released."""
        return self._descriptor is not None

    def release(self) -> None:
        """Let others have it; nothing happens the second time."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _is_at_its_name(self) -> bool:
        assert self._descriptor is not None
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _say_who(self) -> None:
        assert self._descriptor is not None
        with suppress(OSError):  # a full disk: the lock holds all the same
            os.ftruncate(self._descriptor, 0)
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            os.write(
                self._descriptor,
                json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}).encode(),
            )


def _holder(descriptor: int) -> str:
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        who = json.loads(os.read(descriptor, 4096))
        return f"process {int(who['pid'])} on {who['host']} since {who['since']}"
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
