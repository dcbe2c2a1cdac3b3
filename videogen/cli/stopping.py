"""SIGTERM and Ctrl-C: they end a command by an exception, but never within an import.

A native module that is being initialized aborts the process at an exception (`terminate called ...`), so the stop waits
until the import is done.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Timer
from types import FrameType
from typing import TypeAlias

_RETRY_S = 0.05
_Handler: TypeAlias = "Callable[[int, FrameType | None], object] | int"


class Terminated(KeyboardInterrupt):
    """SIGTERM: stop as at Ctrl-C, with the exit code that a supervisor expects."""


class Stoppable(AbstractContextManager["Stoppable"]):
    """Within it, SIGTERM raises `Terminated` and Ctrl-C `KeyboardInterrupt`; signals that were ignored stay so."""

    def __enter__(self) -> Stoppable:
        self._outer = sys._getframe(1)  # imports around this command do not count
        self._timer: Timer | None = None
        self._previous: dict[int, _Handler] = {}
        for number in (signal.SIGTERM, signal.SIGINT):
            previous = signal.getsignal(number)
            if previous is not None and previous != signal.SIG_IGN:
                self._previous[number] = previous
                signal.signal(number, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        del self._outer

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if not self._importing(frame):
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        if self._timer is None or number == signal.SIGTERM or not self._timer.is_alive():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = Timer(_RETRY_S, signal.raise_signal, (number,))
            self._timer.daemon = True
            self._timer.start()

    def _importing(self, frame: FrameType | None) -> bool:
        while frame is not None and frame is not self._outer:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                return True
            frame = frame.f_back
        return False
