"""A process that writes journals in children, to be killed: `python -m tests.longvideo.journal.crashing`.

It imports torch once and forks a child for each line `JOB FOLDER COUNT STEP CALL` that it reads; it answers the child's
pid at once and the child's exit code when it ended. Jobs: `fill` continues to COUNT segments, `count` does the same and
prints how many functions were called, `replace` puts another segment 1 in place, `hold` opens the journal and waits,
`finish` finishes it. STEP: the write step before which the child kills itself; CALL: the function call, of Python or C,
before which it does. -1: never.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

from tests.longvideo.journal.stored import REQUEST, make_segment
from videogen.longvideo import Journal
from videogen.longvideo.journal import disk

STEPS = ("open", "write", "fsync", "close", "replace", "unlink")
SIDE = 96  # segments of some hundred kB, so that writing one takes a while


class Steps(SimpleNamespace):
    """`os` as the journal's disk module sees it, with something done before its n-th write step."""

    def __init__(self, strike: Any, at: int) -> None:
        super().__init__(**{name: getattr(os, name) for name in dir(os) if not name.startswith("__")})
        self.count = 0
        for name in STEPS:
            setattr(self, name, self._counted(getattr(os, name), strike, at))

    def _counted(self, call: Any, strike: Any, at: int) -> Any:
        def step(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            if self.count == at + 1:
                strike()
            return call(*arguments, **options)

        return step


class Calls:
    """A profile function that counts calls, and kills this process before one of them."""

    def __init__(self, last: int) -> None:
        self.count, self.last = 0, last

    def __call__(self, frame: FrameType, event: str, function: object) -> None:
        if event in ("call", "c_call"):
            self.count += 1
            if self.count == self.last + 1:
                die()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def work(job: str, folder: Path, count: int, step: int) -> None:
    with Journal.open(folder, REQUEST) as journal:
        if step >= 0:
            vars(disk)["os"] = Steps(die, step)
        if job in ("fill", "count"):
            for index in range(len(journal), count):
                journal.append(make_segment(index, SIDE))
        elif job == "replace":
            journal.replace(make_segment(1, SIDE, version=1))
        elif job == "finish":
            journal.finish()
        else:
            print_line("held")
            signal.pause()


def print_line(line: object) -> None:
    os.write(1, f"{line}\n".encode())


def main() -> None:
    for line in sys.stdin:
        job, folder, count, step, call = line.split()
        receiving, sending = os.pipe()
        pid = os.fork()
        if not pid:
            os.read(receiving, 1)  # the pid is printed before anything that the child prints
            calls = Calls(int(call))
            try:
                if job == "count" or calls.last >= 0:
                    sys.setprofile(calls)
                work(job, Path(folder), int(count), int(step))
                sys.setprofile(None)
                if job == "count":
                    print_line(calls.count)
            except BaseException as error:
                os.write(2, f"{error!r}\n".encode())
                os._exit(1)
            os._exit(0)
        print_line(pid)
        os.write(sending, b"!")
        os.close(receiving)
        os.close(sending)
        print_line(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


if __name__ == "__main__":
    main()
