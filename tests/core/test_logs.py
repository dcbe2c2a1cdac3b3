"""Logs: the messages of other libraries go to a file."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import pytest

from videogen.core.logs import quiet_third_parties


def test_third_party_messages_go_to_the_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_third_parties(tmp_path / "log", verbose=False):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(True)
            warnings.warn("look here", stacklevel=1)
        logging.getLogger("somebody").warning("and there")
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
    text = (tmp_path / "log").read_text()
    assert "and there" in text
