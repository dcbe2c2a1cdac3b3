"""A benchmark that was cut off goes on with what it has, unless something else is measured now."""

from __future__ import annotations

from pathlib import Path

from tools.bench_rows import Rows


def test_rows_survive_and_a_cut_off_line_does_not(tmp_path: Path) -> None:
    report = tmp_path / "deep" / "report.json"
    first = Rows(report, {"hash": "a", "steps": (1, 2)})
    first.add({"error": 0.5})
    first.add({"error": 0.25})
    path = report.with_suffix(".part.jsonl")
    path.write_text(path.read_text() + '{"err')
    again = Rows(report, {"hash": "a", "steps": (1, 2)})
    assert again.rows == [{"error": 0.5}, {"error": 0.25}]
    again.add({"error": 0.125})
    assert len(Rows(report, {"hash": "a", "steps": (1, 2)}).rows) == 3
    assert Rows(report, {"hash": "b", "steps": (1, 2)}).rows == []
