"""Rows of a long benchmark, kept on disk as they come: the same command goes on where it was cut off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Rows:
    """A file of JSON lines beside the report: `what` is measured, then a row a line. Whoever writes the report removes
    it.

    what: all that the rows depend on (model's hash, part, settings); rows of anything else are thrown away.
    """

    def __init__(self, report: Path, what: dict[str, Any]) -> None:
        self._path = report.with_suffix(".part.jsonl")
        self.rows: list[Any] = []
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.is_file() else []
        what = json.loads(json.dumps(what))
        if lines and _read(lines[0]) == what:
            self.rows = [row for row in map(_read, lines[1:]) if row is not None]
        report.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text("".join(json.dumps(line) + "\n" for line in (what, *self.rows)), encoding="utf-8")

    def add(self, row: Any) -> None:
        self.rows.append(json.loads(json.dumps(row)))
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def _read(line: str) -> Any:
    """None for the last line of a run that was killed while it wrote."""
    try:
        return json.loads(line)
    except ValueError:
        return None
