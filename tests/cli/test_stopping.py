"""SIGTERM and Ctrl-C within an import: native modules that are being set up must not see an exception."""

from __future__ import annotations

import importlib
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from videogen.cli.stopping import Stoppable, Terminated


@pytest.fixture
def slow_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that gets the signals of `slow_to_import.SENT` while it is imported."""
    body = (
        "import signal, time, sys\nfor number in sys.signals_sent: signal.raise_signal(number)\n"
        "time.sleep(0.2)\ncomplete = True\n"
    )
    (tmp_path / "slow_to_import.py").write_text(body, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "slow_to_import", raising=False)
    return "slow_to_import"


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
        time.sleep(10)
    assert raised.type is error and sys.modules.pop(slow_module).complete


def test_outside_of_imports_it_stops_at_once_and_restores_the_handlers() -> None:
    previous = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(Terminated), Stoppable():
        signal.raise_signal(signal.SIGTERM)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == previous


def test_a_finished_command_is_not_stopped(slow_module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "signals_sent", [signal.SIGTERM], raising=False)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    reached: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, _: reached.append(number))
    try:
        with Stoppable():
            importlib.import_module(slow_module)
        threading.Event().wait(0.2)
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
        "import signal, time\nfrom videogen.cli.stopping import Stoppable\ntry:\n    with Stoppable():\n"
        "        signal.raise_signal(signal.SIGINT); time.sleep(1); late = True\n"
        "except KeyboardInterrupt:\n    late = False\n"
    )
    (tmp_path / "command_in_an_import.py").write_text(body, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert not importlib.import_module("command_in_an_import").late
    sys.modules.pop("command_in_an_import")
