"""Plots of reports: what is drawn where, and the tables that they are drawn from."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.comfyui.hosts import Host
from videogen.comfyui.hooks.model_runs import with_runs
from videogen.comfyui.native.branch_tables import CallTimes, tabulate_attention, tabulate_evaluations
from videogen.comfyui.native.propagation import KEY, PropagatedRun
from videogen.comfyui.native.sparse_attention import KEY as ATTENTION
from videogen.comfyui.reports.plots import plot_reports
from videogen.comfyui.reports.reports import collect_reports
from videogen.propagation import StepCaching


def attention_record(step: int, branch: str, density: float, recall: float | None, exact: Any = None) -> Any:
    return SimpleNamespace(step=step, branch=branch, density=density, recall=recall, exact=exact)


def test_attention_is_tabulated_by_branch() -> None:
    records = [
        attention_record(0, "cond", 1.0, None),
        attention_record(2, "cond@12", 0.25, 0.97, 0.93),  # windows of a clip are joined, the exact recall counts
        attention_record(2, "cond@8", 0.75, 0.95),
        attention_record(2, "uncond", 0.5, 0.9),
    ]
    assert tabulate_attention(records, 4) == {
        "cond": {"density": [1.0, None, 0.5, None], "recall": [None, None, 0.93, None]},
        "uncond": {"density": [None, None, 0.5, None], "recall": [None, None, 0.9, None]},
    }


def test_evaluations_are_tabulated_by_branch() -> None:
    calls = [(0, "cond", True), (0, "uncond", True), (1, "cond from 8", False), (2, "cond from 8", True)]
    records = [SimpleNamespace(step=step, branch=branch, key=key) for step, branch, key in calls]
    assert tabulate_evaluations(records) == {"cond": [0, 2], "uncond": [0]}


def test_seconds_saved_are_those_of_the_calls_that_were_skipped() -> None:
    times = CallTimes()
    for seconds in (9.0, 2.0, 2.0):  # the first one compiles
        times.add(seconds, evaluated=True)
    assert times.summarize() == {"evaluated": 2.0, "skipped": None, "saved": None}
    for seconds in (0.5, 0.25):
        times.add(seconds, evaluated=False)
    assert times.summarize() == {"evaluated": 2.0, "skipped": 0.375, "saved": 3.25}


@pytest.mark.parametrize("batched", [True, False], ids=["one batch", "two calls"])
def test_a_run_reports_what_its_branches_did(comfy: Host, batched: bool) -> None:
    model = with_runs(comfy.model(), KEY, lambda context: PropagatedRun(context, StepCaching(keys="every:2")))
    comfy.sample(model, steps=10, batched=batched)
    report = collect_reports(model)[KEY]
    assert report["branches"] == {"uncond": report["keys"], "cond": report["keys"]}
    evaluated, skipped, saved = (report["seconds"][name] for name in ("evaluated", "skipped", "saved"))
    assert evaluated > 0 and skipped >= 0 and saved is not None


REPORTS: dict[str, Any] = {
    ATTENTION: {
        "mean_density": 0.5, "least_recall": 0.9, "dense": {}, "steps": 3, "promised": {"recall": 0.9},
        "branches": {"cond": {"density": [1.0, 0.5, 0.25], "recall": [None, 0.95, 0.9]}},
    },
    KEY: {
        "keys": [0, 2], "steps": 3, "forced": {}, "branches": {"cond": [0, 2]}, "drift": {"0": None, "2": 0.1},
        "seconds": {"saved": 1.5},
    },
}  # fmt: skip


def test_each_report_has_its_panels() -> None:
    heights = {name: plot_reports({name: report}).shape[0] for name, report in REPORTS.items()}
    both, none = plot_reports(REPORTS).shape[0], plot_reports({}).shape[0]
    assert max(heights.values()) < both < sum(heights.values()) and none < min(heights.values())
    declined = plot_reports({KEY: {"declined": "sampler 'heun' calls the model several times per step " * 4}})
    assert none < declined.shape[0] < heights[KEY], "a reason is wrapped, and there is nothing to plot"
