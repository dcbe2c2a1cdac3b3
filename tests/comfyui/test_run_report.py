"""Run Report: the lines and the JSON of the latest run, and the latents as they came."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any

import pytest
import torch

from tests.comfyui.hosts import Host
from videogen.comfyui.engine.reports import describe_render
from videogen.comfyui.native.kernel_guard import KEY as GUARD
from videogen.comfyui.native.propagation import KEY as PROPAGATION
from videogen.comfyui.native.sparse_attention import KEY as ATTENTION
from videogen.comfyui.reports.reports import NOTHING, describe_reports, to_json


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


def test_numbers_that_are_not_finite_are_null() -> None:
    """`Infinity` and `NaN` are no JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    reports = {GUARD: {"kernels": [{"error": float("inf"), "shape": (1, 2)}], "least": float("nan"), "density": 0.5}}
    found = json.loads(to_json(reports), parse_constant=refuse)
    assert found == {GUARD: {"kernels": [{"error": None, "shape": [1, 2]}], "least": None, "density": 0.5}}


@pytest.mark.parametrize(("recall", "missed"), [(0.781, True), (0.8, False), (None, False)])
def test_a_recall_below_the_target_is_stated(recall: float | None, missed: bool) -> None:
    report = {"mean_density": 0.5, "least_recall": recall, "dense": {}, "promised": {"recall": 0.8}}
    lines = describe_reports({ATTENTION: report})
    assert any("the promised recall of 0.8 was missed" in line for line in lines) == missed


@pytest.mark.parametrize(("within", "missed"), [(False, True), (True, False), (None, False)])
def test_an_error_above_the_bound_is_stated(within: bool | None, missed: bool) -> None:
    promised = {"max_error": 0.05} if within is not None else {"keys": "every:2"}
    report = {"keys": [0], "steps": 20, "forced": {}, "promised": promised, "within_promise": within}
    lines = describe_reports({PROPAGATION: report | {"estimated_error": 0.0625}})
    stated = any("the promised error of 0.05 was missed: the estimate is 0.0625" in line for line in lines)
    assert stated == missed


def test_broken_promises_of_the_engine_are_stated() -> None:
    size = {"frames": 33, "width": 64, "height": 64, "fps": 8, "steps": 20, "guidance_scale": 5, "seed": 0}
    attention = {"mean_density": 0.5, "least_recall": 0.781, "promised": {"recall": 0.8}}
    propagation = {"within_promise": False, "estimated_error": 0.0625, "promised": {"max_error": 0.05}}
    measured = {"attention": attention, "propagation": propagation}
    text = describe_render({"model": {"name": "m"}, "request": size, "measured": measured, "timings_s": {}})
    assert "recall of 0.8 was missed" in text and "error of 0.05 was missed: the estimate is 0.0625" in text
