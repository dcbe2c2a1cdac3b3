"""Fixtures of the motion tests: one thread, and a separate cache folder."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest


@pytest.fixture(autouse=True)
def separate_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cv2.setNumThreads(1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "videogen" / "flow"
