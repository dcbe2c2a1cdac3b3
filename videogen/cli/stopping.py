"""SIGTERM and Ctrl-C: they end a command by an exception, never within an import, and are never lost.

A native module that is being initialized aborts the process at an exception (`terminate called ...`), so the stop waits
until the import is done. An exception that a library swallows, as in a destructor, is raised again.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import FrameType
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_RETRY_S = 0.05
_Handler: TypeAlias = "Callable[[int, FrameType | None], object] | int"


class Terminated(KeyboardInterrupt):
    """SIGTERM: stop as at Ctrl-C, with the exit code that a supervisor expects."""


class Stoppable(AbstractContextManager["Stoppable"]):
    """Within it, SIGTERM raises `Terminated` and Ctrl-C `KeyboardInterrupt`; signals that were ignored stay so.

    Whoever handles the exception calls `arrived()`; until then it is raised again where nothing is handling it.
    """

    def __init__(self) -> None:
        self.requested = False
        self._signal = signal.SIGINT
        self._error: KeyboardInterrupt | None = None
        self._watching = self._retrying = self._done = False
        self._sending = _thread.allocate_lock()
        self._previous: dict[int, _Handler] = {}

    def __enter__(self) -> Stoppable:
        self._outer = sys._getframe(1)  # imports around this command do not count
        self._unraisable = sys.unraisablehook
        sys.unraisablehook = self._report_unraisable
        for number in (signal.SIGTERM, signal.SIGINT):
            previous = signal.getsignal(number)
            if previous is not None and previous != signal.SIG_IGN:
                self._previous[number] = previous
                signal.signal(number, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        self.arrived()
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        sys.unraisablehook = self._unraisable
        del self._outer

    @property
    def error(self) -> KeyboardInterrupt:
        """The exception of the signal that came; SIGTERM outranks Ctrl-C."""
        return Terminated() if self._signal == signal.SIGTERM else KeyboardInterrupt()

    def arrived(self) -> None:
        """The command has ended, or is about to: it is not stopped any more."""
        self._done = True
        with self._sending:  # no signal is on its way after this
            pass

    def _stop(self, number: int, frame: FrameType | None) -> None:
        retrying, self._retrying = self._retrying, False
        if self._done or (retrying and self._is_handled()):
            return
        self.requested = True
        if self._signal != signal.SIGTERM:
            self._signal = signal.Signals(number)
        if not self._watching:
            self._watching = True
            _thread.start_new_thread(self._watch, ())  # without the locks of `threading`, which may be held right now
        if not self._importing(frame):
            self._error = self.error
            raise self._error

    def _watch(self) -> None:
        """Send the signal again until the command has ended, from a thread of its own."""
        while True:
            time.sleep(_RETRY_S)
            with self._sending:
                if self._done:
                    return
                self._retrying = True
                _send(self._signal)

    def _is_handled(self) -> bool:
        """Whether the stop, or an error that followed from it, is being handled: files are being closed, say."""
        error = sys.exc_info()[1]
        while error is not None:
            if error is self._error:
                return True
            error = error.__context__
        return False

    def _importing(self, frame: FrameType | None) -> bool:
        while frame is not None and frame is not self._outer:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                return True
            frame = frame.f_back
        return False

    def _report_unraisable(self, unraisable: UnraisableHookArgs) -> None:
        """Errors in destructors as before; a stop there is not printed, as it will be raised again."""
        if not isinstance(unraisable.exc_value, KeyboardInterrupt):
            self._unraisable(unraisable)


def _send(number: signal.Signals) -> None:
    """Send a signal to the main thread, also where it is waiting."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        _thread.interrupt_main(number)
