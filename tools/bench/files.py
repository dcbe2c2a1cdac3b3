"""Report files of the benchmarks: one JSON file per report, and the rows of one that is still being measured."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tools.bench.environment import identity, machine
from tools.bench.keys import with_present_keys

BENCHMARKS = Path("benchmarks")


class ResumableRows:
    """Rows of a long benchmark, written as they are measured: the same command continues where it was stopped.

    A file of JSON lines next to the report: first what is measured, then one line per row. `write_report` removes it.

    subject: all that the rows depend on (the model's hash, the part, the settings); rows of any other subject are
    dropped.
    """

    def __init__(self, report: Path, subject: dict[str, Any]) -> None:
        self._path = _rows_path(report)
        self.rows: list[Any] = []
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.is_file() else []
        subject = _as_json(subject)
        if lines and _parse(lines[0]) == subject:
            self.rows = [row for row in map(_parse, lines[1:]) if row is not None]
        report.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text("".join(json.dumps(line) + "\n" for line in (subject, *self.rows)), encoding="utf-8")

    def add(self, row: Any) -> None:
        self.rows.append(_as_json(row))
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(self.rows[-1]) + "\n")


def read_report(path: Path) -> dict[str, Any]:
    """A report under the present keys; empty where there is none."""
    if not path.is_file():
        return {}
    return with_present_keys(path.name, dict(json.loads(path.read_text(encoding="utf-8"))))


def write_report(
    path: Path, command: str, figures: dict[str, Any], *, device: str | None = None, model: str | None = None
) -> None:
    """Write figures with the command, the machine and, where one model was measured, its weights.

    command: what follows `python -m tools.bench`.
    """
    report = {"command": f"python -m tools.bench {command}", "machine": machine(device)}
    report |= (identity(model) if model else {}) | figures
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_without_nan(report), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    _rows_path(path).unlink(missing_ok=True)
    print(path)


def show_progress(row: Any) -> None:
    """One JSON line on stderr for a step of a benchmark."""
    print(json.dumps(row), file=sys.stderr)


def changed_options(options: argparse.Namespace, defaults: dict[str, Any], names: Iterable[str]) -> str:
    """` --steps 12 ...`: the named options that differ from their defaults, as a command line."""
    text = ""
    for name in names:
        value = getattr(options, name)
        if value != defaults[name]:
            values = value if isinstance(value, list) else [value]
            text += f" --{name.replace('_', '-')} {' '.join(_plain(v) for v in values)}"
    return text


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rows_path(report: Path) -> Path:
    return report.with_suffix(".part.jsonl")


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(_without_nan(value), allow_nan=False))


def _without_nan(value: Any) -> Any:
    """Plain data in which a figure that could not be measured (NaN, infinity) is None, since JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _parse(line: str) -> Any:
    """None for the last line of a run that was killed while writing it."""
    try:
        return json.loads(line)
    except ValueError:
        return None
