"""Tables of figures in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

ABSENT = "–"


@dataclass(frozen=True)
class Table:
    """Rows of cells under named columns. caption: what was measured, as one sentence without its full stop."""

    caption: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        if any(len(line) != len(self.columns) for line in lines):
            raise ValueError(
                f"a row of the table {self.caption!r} has not {len(self.columns)} cells, as its columns are"
            )
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


#: Reads a report, under its present keys, into tables.
Reader = Callable[[dict[str, Any]], Iterator[Table]]


def percent(fraction: float, digits: int = 0) -> str:
    return f"{100 * fraction:.{digits}f} %"
