"""Hosts of the pack's tests. `COMFYUI_PATH=FOLDER` adds the real ComfyUI, whose packages this Python must have."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.comfyui.hosts import Double, Host
from tests.comfyui.real import Real, prepare
from videogen.comfyui.hooks import run_parts

_FOLDER = os.environ.get("COMFYUI_PATH", "")
_HOSTS = ("double", "real") if _FOLDER else ("double",)
#: tests that need ComfyUI's own models, samplers and nodes
collect_ignore = [] if _FOLDER else ["real_host"]

if _FOLDER:
    prepare(_FOLDER)


@pytest.fixture
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Propagation also in runs of few steps, which it leaves as they are, so that tests are short."""
    monkeypatch.setattr(run_parts, "FEW_STEPS", 0)


@pytest.fixture(params=_HOSTS)
def comfy(request: Any, monkeypatch: pytest.MonkeyPatch) -> Host:
    """The double, and the real ComfyUI where there is one."""
    return Real() if request.param == "real" else Double(monkeypatch)
