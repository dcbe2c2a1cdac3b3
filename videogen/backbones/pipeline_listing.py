"""`videogen models --table`: every pipeline class that is loaded, its conditions, and the techniques that run on it.

The cells are the rules by which requests are checked (`backbones.hosting.techniques_table`). The page
docs/guide/models.md has the same table (`python -m tools.models_page`). No torch here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .hosting.modular_pipelines import MODULAR_NOT_HOSTED, MODULAR_PIPELINES
from .hosting.pipeline_row import PipelineRow
from .hosting.pipelines import NOT_HOSTED, NOT_TAKEN, PIPELINES
from .hosting.techniques_table import TECHNIQUES, find_refusal, frame_rule
from .registry import FAMILIES

_OWN = "own"


def build_table() -> str:
    """The table in Markdown, with the reasons that its cells refer to by number, and what is not loaded."""
    reasons: list[str] = []
    rows = [_cells(row, reasons) for row in _rows()]
    heads = [
        "pipeline",
        "lineage",
        "inputs",
        *(known.title for known in TECHNIQUES.values()),
        "mode",
        "frames",
        "needs",
    ]
    lines = [*_aligned([heads, *rows]), ""]
    lines += [
        "Inputs besides the prompt; `*`: required, `a or b *`: one of them. Mode: `own`, by videogen's own code; "
        "`session`, the pipeline's own loop, any step at any time; `driven`, its steps once each, in order.",
        "",
    ]
    lines += [f"{number}. {reason}" for number, reason in enumerate(reasons, 1)]
    lines += ["", *(f"No pipeline takes `{kind}` as an input: {reason}." for kind, reason in NOT_TAKEN.items())]
    lines += ["", "Not loaded:", ""]
    left_out = NOT_HOSTED | MODULAR_NOT_HOSTED
    return "\n".join([*lines, *(f"- `{name}`: {reason}" for name, reason in left_out.items())])


def list_pipelines() -> list[dict[str, object]]:
    """The table as plain data: of each technique `true`, or the reason why it cannot run."""
    return [
        {
            "pipeline": row.name, "lineage": row.lineage, "description": row.description,
            "inputs": list(row.conditions), "needs": list(row.needs), "mode": _mode(row), "frames": frame_rule(row),
            "requires": row.requires,
            "techniques": {name: _reason(row, name) or True for name in TECHNIQUES},
        }
        for row in _rows()
    ]  # fmt: skip


def _rows() -> Iterable[PipelineRow]:
    """Of the standard pipelines, then of the modular ones."""
    return [*PIPELINES.values(), *MODULAR_PIPELINES.values()]


def _cells(row: PipelineRow, reasons: list[str]) -> list[str]:
    """A line of the table. reasons: those of the lines before, to which this one's are added."""
    techniques = []
    for name in TECHNIQUES:
        reason = _reason(row, name)
        if reason and reason not in reasons:
            reasons.append(reason)
        techniques.append(f"no ({reasons.index(reason) + 1})" if reason else "yes")
    return [row.name, row.lineage, _inputs(row), *techniques, _mode(row), frame_rule(row), row.requires or "-"]


def _reason(row: PipelineRow, technique: str) -> str:
    """Why a technique cannot run with the conditions that the pipeline needs; empty where it can."""
    if _mode(row) == _OWN and not TECHNIQUES[technique].by_inputs:
        return ""
    refusal = find_refusal(row, technique, row.needs)
    return "" if refusal is None else refusal.reason


def _mode(row: PipelineRow) -> str:
    return _OWN if any(row.name in family.pipelines for family in FAMILIES.values()) else row.mode


def _inputs(row: PipelineRow) -> str:
    """The conditions that a pipeline takes, the required ones first and marked."""
    needed = [f"{' or '.join(map(_named, need.split('|')))} *" for need in row.needs]
    alternatives = {one for need in row.needs for one in need.split("|")}
    return ", ".join([*needed, *(_named(key) for key in row.conditions if key not in alternatives)]) or "-"


def _named(key: str) -> str:
    """`control:` is a control video of any name, `control:pose` that of the pose."""
    kind, _, name = key.partition(":")
    return f"{kind} {name}".strip()


def _aligned(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Lines of a Markdown table with columns of one width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = [["-" * width for width in widths]]
    for row in [*rows[:1], *rule, *rows[1:]]:
        yield f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"
