"""Reports of the techniques on a MODEL, of its latest sampling run, and their description in a few lines."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

from ..hooks.model_runs import RunOpener, find_opener
from ..native import dual_clock, kernel_guard, look_back, propagation, sparse_attention
from .clip_reports import merge_clips
from .promises import describe_missed_error, describe_missed_recall

NOTHING = "no videogen node is on this model, or it has not been sampled yet"


def collect_reports(model: Any) -> dict[str, Any]:
    """Key of a technique -> its report of the latest run; without those that have none. part: where the run was of some
    steps of several samplers', those steps, counted from 1."""
    openers = {key: find_opener(model, key) for key in _DESCRIPTIONS}
    found = {key: one.reports[-1] for key, one in openers.items() if one is not None and one.reports}
    merged = {key: merge_clips(key, one) if isinstance(one, list) else one for key, one in found.items()}
    return {key: {**one, **_part_of(openers[key])} for key, one in merged.items()}


def describe_reports(reports: dict[str, Any]) -> list[str]:
    """Lines of text."""
    lines = [line for key, report in reports.items() for line in _describe(key, report)]
    part = next((report["part"] for report in reports.values() if "part" in report), None)
    if part is not None:
        steps = f"steps {part['first_step']} to {part['last_step']} of {part['of']}"
        lines.insert(0, f"{steps}, by their noise levels; the others are another sampler's")
    return lines or [NOTHING]


def _part_of(opener: RunOpener | None) -> dict[str, Any]:
    part = None if opener is None else opener.part
    if part is None or not part.is_partial:
        return {}
    return {"part": {"first_step": part.first + 1, "last_step": part.first + part.steps, "of": part.total}}


def to_json(reports: dict[str, Any]) -> str:
    """As JSON; null for a number that is not finite, which JSON does not have."""
    return json.dumps(_plain(reports), default=str, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _describe(key: str, report: dict[str, Any]) -> Iterator[str]:
    if "declined" in report:
        yield f"{_NAMES[key]}: no effect; {report['declined']}"
    else:
        yield from _DESCRIPTIONS[key](report)


def _describe_attention(report: dict[str, Any]) -> Iterator[str]:
    computed = f"{report['mean_density']:.0%} of attention computed"
    recall = report["least_recall"]
    yield f"sparse attention: {computed}" + ("" if recall is None else f", recall at least {recall:.3f}")
    yield from describe_missed_recall(report)
    for reason, calls in report["dense"].items():
        yield f"  {calls} calls ran dense: {reason}"
    if "below" in report:
        yield f"  calls that ran dense went to the override {report['below']}"


def _describe_propagation(report: dict[str, Any]) -> Iterator[str]:
    keys, steps = len(report["keys"]), report["steps"]
    if keys == steps:
        yield f"propagation: {keys} of {steps} steps were key steps; nothing was saved"
        return
    saved = report.get("seconds", {}).get("saved")
    time = "" if saved is None else f"; {saved:.1f} s of model calls saved"
    yield f"propagation: {keys} of {steps} steps were key steps{time}"
    yield from describe_missed_error(report)
    for step, why in report["forced"].items():
        yield f"  step {int(step) + 1} became a key step: {why}"


def _describe_dual_clock(report: dict[str, Any]) -> Iterator[str]:
    skipped = f", {report['skipped_steps']} of {report['steps']} steps skipped" if report["skipped_steps"] else ""
    held = f"{report['region']:.0%} of the clip held for {report['held_steps']:g} steps"
    yield f"dual-clock motion: {held}, from noise level {report['weak']:.3f} to {report['strong']:.3f}{skipped}"


def _describe_look_back(report: dict[str, Any]) -> Iterator[str]:
    extensions = f"{report['extensions']} extension{'s' * (report['extensions'] != 1)}"
    yield f"long context: {report['frames']} latent frames, {extensions} by {report['method']}"
    if "rounded" in report:
        yield f"  {report['rounded']}"
    yield f"  clips of {report['clip']} latent frames share {report['copied']} for {report['release_step']} steps"


_NAMES = {
    sparse_attention.KEY: "sparse attention",
    propagation.KEY: "propagation",
    dual_clock.KEY: "dual-clock motion",
    look_back.KEY: "long context",
    kernel_guard.KEY: "kernel guard",
}
_DESCRIPTIONS: dict[str, Callable[[dict[str, Any]], Iterator[str]]] = {
    sparse_attention.KEY: _describe_attention,
    propagation.KEY: _describe_propagation,
    dual_clock.KEY: _describe_dual_clock,
    look_back.KEY: _describe_look_back,
    kernel_guard.KEY: kernel_guard.describe_checks,
}
