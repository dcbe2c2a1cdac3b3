"""The progress bar between two reports of the engine: its clock runs on."""

from __future__ import annotations

import io
import sys
import threading

import pytest
from tqdm import tqdm

from videogen.cli.progress import Bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make stderr a terminal; within the test, since pytest sets it for each phase."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def test_the_clock_runs_while_a_stage_reports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    bar, twice = Bar(visible=True, redraw_s=0.001), threading.Event()
    drawn: list[str] = []
    draw = Bar.redraw

    def redraw(self: Bar) -> None:
        self._bar._time = lambda: self._bar.start_t + 7
        draw(self)
        drawn.append(terminal.getvalue())
        if len(drawn) == 2:
            twice.set()

    monkeypatch.setattr(Bar, "redraw", redraw)
    bar.stage("load")
    assert twice.wait(60) and "loading the model" in drawn[-1] and "00:07" in drawn[-1]
    (thread,) = [one for one in threading.enumerate() if one.name == "videogen-progress"]
    bar.close()
    thread.join(60)
    assert not thread.is_alive()
    after = terminal.getvalue()
    bar.stage("save")
    assert "saving" in terminal.getvalue()[len(after) :]
    bar.close()


def test_a_stop_within_the_drawing_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    open_terminal(monkeypatch)
    bar = Bar(visible=True, redraw_s=0.001)
    bar.stage("load")

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tqdm, "refresh", stop)
        patch.setattr(Bar, "redraw", lambda self: None)
        with pytest.raises(KeyboardInterrupt):
            bar.stage("decode")
    bar.close()


def test_notes_are_printed_only_where_the_bar_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    notes: list[str] = []
    Bar(visible=False, notes=notes).announce(["a note"])
    assert notes == ["a note"] and capsys.readouterr().err == ""
    Bar(visible=False, notes=notes, speaks=True).announce(["another"])
    assert notes == ["a note"] and capsys.readouterr().err == "note: another\n"
