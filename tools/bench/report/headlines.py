"""The README's headline rows: one figure per subject, in plain language, no cell with more than two figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tools.bench.report import attention, long, motion, propagation, render


class Headline(NamedTuple):
    """A report file, and what reads (measured, result) from it."""

    file: str
    row: Callable[[dict[str, Any]], tuple[str, str]]


HEADLINES = (
    Headline("render.json", render.render_headline),
    Headline("attention-render.json", attention.recall_headline),
    Headline("propagation-fidelity-embedded.json", propagation.fidelity_headline),
    Headline("motion-control-embedded.json", motion.control_headline),
    Headline("long-policies-embedded.json", long.policy_headline),
)
