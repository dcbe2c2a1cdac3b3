"""SIGTERM and Ctrl-C: neither within an import, where native modules must not see an exception, nor ever lost.

`LONG_ENOUGH` ends the wait of a test that fails: a stop interrupts it at once.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from videogen.cli import main, stopping
from videogen.cli.stopping import Stoppable, Terminated

LONG_ENOUGH = 60


def wait_for_the_stop() -> None:
    threading.Event().wait(LONG_ENOUGH)
    raise AssertionError("the signal was lost")


@pytest.fixture
def slow_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that gets the signals of `sys.signals_sent` while it is imported, and then those of three retries."""
    body = (
        "import signal, sys\nfor number in sys.signals_sent: signal.raise_signal(number)\n"
        "sys.wait_for_retries(3)\ncomplete = True\n"
    )
    (tmp_path / "slow_to_import.py").write_text(body, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "slow_to_import", raising=False)
    return "slow_to_import"


@pytest.fixture(autouse=True)
def retries(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Waits until the signal was sent again so many times. Retries follow each other without a pause, so that the
    handler runs while the thread that sends them is busy."""
    count = threading.Semaphore(0)
    send = stopping._send

    def counted(number: signal.Signals) -> None:
        send(number)
        count.release()

    def wait_for_retries(number: int) -> None:
        for _ in range(number):
            assert count.acquire(timeout=LONG_ENOUGH)

    monkeypatch.setattr(stopping, "_send", counted)
    monkeypatch.setattr(stopping, "_RETRY_S", 0.001)
    monkeypatch.setattr(sys, "wait_for_retries", wait_for_retries, raising=False)
    return wait_for_retries


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ([signal.SIGTERM], Terminated),
        ([signal.SIGINT], KeyboardInterrupt),
        ([signal.SIGTERM, signal.SIGINT], Terminated),
        ([signal.SIGINT, signal.SIGTERM], Terminated),
    ],
)
def test_an_import_is_finished_before_the_command_ends(
    sent: list[int], error: type[BaseException], slow_module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "signals_sent", sent, raising=False)
    with pytest.raises(KeyboardInterrupt) as raised, Stoppable():
        importlib.import_module(slow_module)
        wait_for_the_stop()
    assert raised.type is error and sys.modules.pop(slow_module).complete


def test_outside_of_imports_it_stops_at_once_and_restores_the_handlers() -> None:
    previous = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(Terminated), Stoppable():
        signal.raise_signal(signal.SIGTERM)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == previous


def in_a_destructor() -> None:
    class Sends:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    Sends()


def under_a_bare_except() -> None:
    with contextlib.suppress(BaseException):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("swallow", [in_a_destructor, under_a_bare_except])
def test_a_stop_that_is_swallowed_is_raised_again(
    swallow: Callable[[], None], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt), Stoppable():
        swallow()
        wait_for_the_stop()
    assert capfd.readouterr().err == ""


def test_a_stop_that_is_being_handled_is_not_disturbed(retries: Callable[[int], None]) -> None:
    closed = False
    with pytest.raises(KeyboardInterrupt), Stoppable():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            retries(3)
            closed = True
    assert closed


def test_a_second_signal_interrupts_the_cleaning_up() -> None:
    with pytest.raises(Terminated), Stoppable():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGTERM)
            wait_for_the_stop()


def test_an_error_that_a_stop_became_is_reported_as_the_stop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(options: argparse.Namespace) -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise RuntimeError("python error in a hook of a library") from None
        return 0

    monkeypatch.setattr("videogen.cli.doctor.run", run)
    assert main.main(["doctor"]) == 143
    assert capsys.readouterr().err == "videogen: terminated; nothing was written\n"


def test_a_finished_command_is_not_stopped(slow_module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "signals_sent", [signal.SIGTERM], raising=False)
    reached: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, _: reached.append(number))
    try:
        with Stoppable() as stops, pytest.raises(Terminated):
            importlib.import_module(slow_module)
            wait_for_the_stop()
        assert stops._done and not stops._sending.locked()
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert not reached


def test_ignored_signals_stay_ignored() -> None:
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Stoppable():
            signal.raise_signal(signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, previous)


def test_imports_around_the_command_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = (
        "import signal\nfrom videogen.cli.stopping import Stoppable\ntry:\n    with Stoppable():\n"
        "        signal.raise_signal(signal.SIGINT)\n        late = True\n"
        "except KeyboardInterrupt:\n    late = False\n"
    )
    (tmp_path / "command_in_an_import.py").write_text(body, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert not importlib.import_module("command_in_an_import").late
    sys.modules.pop("command_in_an_import")
