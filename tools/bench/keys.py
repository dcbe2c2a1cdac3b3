"""Renamed keys of benchmark reports: reports of earlier versions are read under the present names.

By the beginning of a report's file name. Paths as in `videogen.core.stored_keys`: dotted, under the old names, `*` is
any key or list item.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from videogen.core.stored_keys import with_current_keys

RENAMED: Mapping[str, Mapping[str, str]] = {
    "embedded-quality": {
        "models.*.seconds_a_clip": "seconds_per_clip",
        "models.*.seen": "verdicts",
        "models.*.seen.*.saw": "verdict",
    },
    "attention-": {
        "kernels.*.search_share": "search_fraction",
        "kernels.*.audit_share": "audit_fraction",
        "render.full_audit.promised": "target",
        "render.full_audit.cells": "measured",
        "gpu.kernels.*.search_share": "search_fraction",
        "gpu.kernels.*.audit_share": "audit_fraction",
    },
    "propagation-": {
        "rivals.*.right": "accuracy",
        "rivals.*.keys": "key_steps",
        "promises.*.kept": "met",
        "promises.*.keys": "key_steps",
        "models.*.kinds.*.kept_mib": "cached_mib",
    },
    "long-": {
        "policies.*.right_colour": "colour_accuracy",
        "policies.*.right_shape": "shape_accuracy",
        "policies.*.still": "frozen",
        "policies.*.likeness": "similarity",
        "one clip": "single_clip",
        "one clip.right": "accuracy",
        "runs.*.cpu_seconds_a_piece": "cpu_seconds_per_segment",
        "runs.*.cpu_seconds_a_segment": "cpu_seconds_per_segment",
        "late_frames": "delay_frames",
        "late_frames.colour_late": "colour",
        "late_frames.motion_late": "motion",
        "stories.*.colour_late": "colour_delay",
        "stories.*.motion_late": "motion_delay",
        "stories.*.right_shape": "shape_accuracy",
        "right_shape": "shape_accuracy",
        "pieces": "segments",
    },
    "motion-noise": {
        "statistics.picture": "size_px",
        "statistics.kept": "degradation",
        "statistics.slow_pans.*.px_a_frame": "px_per_frame",
        "statistics.white.everything out of the picture": "everything out of the frame",
        "statistics.exact.the ground behind a thing": "the background behind an object",
        "speed.picture": "size_px",
        "speed.published.steps_in_all": "steps_total",
    },
    "motion-control": {
        "ways": "methods",
        "ways.*.seen": "visible",
        "px_of": "frame_px",
        "ways.plain noise": "no control",
        "ways.words alone": "motion in the prompt",
    },
    "motion-camera": {
        "cameras.*.asked": "target",
        "cameras.*.seen": "measurable",
        "cameras.*.off": "relative_error",
        "cameras.*.floor": "vae_error",
        "cameras.*.measured_on_the_plan": "measured_on_plan",
    },
    "motion-transfer": {"drivers.*.*.of_standing_still_px": "static_error_px"},
}


def with_present_keys(name: str, report: dict[str, Any]) -> dict[str, Any]:
    """A report under the present keys. name: its file name."""
    for beginning, renamed in RENAMED.items():
        if name.startswith(beginning):
            report = dict(with_current_keys(report, renamed))
    return report
