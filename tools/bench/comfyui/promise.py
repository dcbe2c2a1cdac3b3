"""Whether propagation on ComfyUI's samplers keeps what it promises: renders whose error is within `max_error`."""

from __future__ import annotations

import statistics
from typing import Any

from tools.bench.comfyui.calibrate import SAMPLERS, STEPS
from tools.bench.comfyui.host import Host
from tools.bench.files import show_progress
from tools.bench.propagation.renders import relative_error
from tools.world import caption, sample_scene
from videogen.comfyui.hooks.model_runs import find_opener
from videogen.comfyui.native.propagation import KEY

BOUNDS = (0.02, 0.05, 0.1)
TARGET = 0.9  # fraction of renders within the bound
FIRST_PROMPT, FIRST_SEED = 7_000_000, 13_000


def measure_promise(host: Host, renders: int) -> dict[str, Any]:
    """Rows per sampler, number of steps and bound: fraction within, errors, and evaluated steps; next to `every:2` and
    to a run of half the steps, whose clip is another one."""
    rows = [row for sampler in SAMPLERS for steps in STEPS for row in _measure(host, sampler, steps, renders)]
    return {"target": TARGET, "renders": renders, "rows": rows}


def _measure(host: Host, sampler: str, steps: int, renders: int) -> list[dict[str, Any]]:
    rules = [f"max_error:{bound}" for bound in BOUNDS] + ["every:2"]
    errors: dict[str, list[float]] = {rule: [] for rule in [*rules, "half the steps"]}
    keys: dict[str, list[int]] = {rule: [] for rule in rules}
    for index in range(renders):
        prompt, seed = caption(sample_scene(FIRST_PROMPT + index, pairs=0, cameras=0)), FIRST_SEED + index
        plain = host.sample(host.model, prompt, seed, sampler=sampler, steps=steps)
        for rule in rules:
            (model,) = host.nodes["Propagation"].execute(host.model, rule).result
            found = host.sample(model, prompt, seed, sampler=sampler, steps=steps)
            errors[rule].append(relative_error(found, plain))
            keys[rule].append(len(find_opener(model, KEY).reports[-1]["keys"]))  # type: ignore[union-attr]
        half = host.sample(host.model, prompt, seed, sampler=sampler, steps=steps // 2)
        errors["half the steps"].append(relative_error(half, plain))
    rows = [_row(sampler, steps, rule, found, keys.get(rule, [steps // 2])) for rule, found in errors.items()]
    for row in rows:
        show_progress(row)
    return rows


def _row(sampler: str, steps: int, rule: str, errors: list[float], keys: list[int]) -> dict[str, Any]:
    name, _, bound = rule.partition(":")
    promised = float(bound) if name == "max_error" else None
    return {
        "sampler": sampler, "steps": steps, "rule": rule,
        "within": None if promised is None else round(sum(e <= promised for e in errors) / len(errors), 4),
        "error": round(statistics.median(errors), 5), "worst_error": round(max(errors), 5),
        "evaluated_steps": round(statistics.mean(keys), 2),
    }  # fmt: skip
