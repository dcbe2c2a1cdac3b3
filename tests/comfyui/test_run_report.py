"""Run Report: the lines and the JSON of the latest run, and the latents as they came."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any

import pytest
import torch

from tests.comfyui.hosts import Host
from videogen.comfyui.reports import NOTHING


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> None:
    """ComfyUI's server module, without a server: the text is shown nowhere."""
    module: Any = ModuleType("server")
    module.PromptServer = type("PromptServer", (), {})
    monkeypatch.setitem(sys.modules, "server", module)


@pytest.mark.usefixtures("server")
def test_it_reports_what_each_node_did(comfy: Host) -> None:
    propagation, report = comfy.load_nodes("propagation"), comfy.load_nodes("run_report")
    latent = {"samples": comfy.noise}
    (model,) = propagation.Propagation.execute(comfy.model(), "every:2").result
    assert report.RunReport.execute(model, latent).result[1] == NOTHING
    comfy.sample(model, steps=10)
    output = report.RunReport.execute(model, latent)
    given, text, stored, plots = output.result
    assert plots.ndim == 4 and plots.shape[3] == 3 and plots.shape[1] > 200 and output.ui is not None
    assert given is latent and torch.equal(given["samples"], comfy.noise)
    assert text.startswith("propagation: ") and "of 10 steps were key steps" in text
    assert json.loads(stored)["videogen_propagation"]["steps"] == 10
