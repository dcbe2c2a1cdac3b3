"""Calibration of propagation on ComfyUI's samplers: how the final error relates to the controller's sum."""

from __future__ import annotations

from typing import Any

from tools.bench.comfyui.host import Host
from tools.bench.files import show_progress
from tools.bench.propagation.calibrate import conformal_quantile, store_calibration
from tools.bench.propagation.renders import relative_error
from tools.world import caption, sample_scene
from videogen.comfyui.embedded.native_wan import CALIBRATED_NAME
from videogen.comfyui.hooks.model_runs import RunContext, find_opener, with_runs
from videogen.comfyui.native.propagation import KEY, PropagatedRun
from videogen.propagation import StepCaching
from videogen.schedulers import solver_of_sampler

SAMPLERS = ("euler", "uni_pc", "dpmpp_2m", "res_multistep")
STEPS = (20, 30)
BOUNDARY = "output"
FIRST_PROMPT, FIRST_SEED = 6_000_000, 12_000  # used by no other measurement
#: of the controller's sum: the errors that follow are those of interest, a few per cent to a fifth
BUDGETS = (0.03, 0.06, 0.12)


def write_calibrations(host: Host, renders: int) -> None:
    """Replace the embedded model's rows for each sampler and number of steps in the package's table."""
    for sampler in SAMPLERS:
        for steps in STEPS:
            row = measure_calibration(host, sampler, steps, renders)
            show_progress({"sampler": sampler} | row)
            store_calibration(BOUNDARY, CALIBRATED_NAME, row)


def measure_calibration(host: Host, sampler: str, steps: int, renders: int) -> dict[str, Any]:
    """Ratio of the final error to the controller's sum: its conformal 90 % quantile."""
    ratios: list[float] = []
    for index in range(renders):
        prompt, seed = caption(sample_scene(FIRST_PROMPT + index, pairs=0, cameras=0)), FIRST_SEED + index
        plain = host.sample(host.model, prompt, seed, sampler=sampler, steps=steps)
        for budget in BUDGETS:
            model = _attach(host.model, budget)
            found = host.sample(model, prompt, seed, sampler=sampler, steps=steps)
            spent = find_opener(model, KEY).reports[-1]["estimated_error"]  # type: ignore[union-attr]
            if spent:
                ratios.append(relative_error(found, plain) / spent)
    return conformal_quantile(ratios) | {"solver": solver_of_sampler(sampler, "flow"), "steps": steps}


def _attach(model: Any, budget: float) -> Any:
    def open_run(context: RunContext) -> PropagatedRun:
        return PropagatedRun(context, StepCaching(max_error=budget, boundary=BOUNDARY), factor=1.0)

    return with_runs(model, KEY, open_run)
