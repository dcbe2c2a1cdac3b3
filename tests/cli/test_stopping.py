"""SIGTERM and Ctrl-C within an import: native modules that are being set up must not see an exception."""

from __future__ import annotations

import importlib
import signal
import sys
import time
from pathlib import Path

import pytest

from videogen.cli import main as command


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, command._Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_an_import_is_finished_before_the_command_ends(
    number: signal.Signals, error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = f"import signal, time\nsignal.raise_signal({int(number)})\ntime.sleep(0.2)\nwhole = True\n"
    (tmp_path / "slow_to_import.py").write_text(body, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    kept = {each: signal.getsignal(each) for each in (number, signal.SIGALRM)}
    signal.signal(number, command._stop)
    try:
        with pytest.raises(error):
            importlib.import_module("slow_to_import")
            time.sleep(10)
        assert sys.modules["slow_to_import"].whole
    finally:
        sys.modules.pop("slow_to_import", None)
        for each, handler in kept.items():
            signal.signal(each, handler)


def test_outside_of_imports_it_ends_at_once() -> None:
    kept = signal.signal(signal.SIGTERM, command._stop)
    try:
        with pytest.raises(command._Terminated):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, kept)
