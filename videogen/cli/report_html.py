"""HTML that the parts of `--report` share: tables, and numbers as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def table(rows: Iterable[tuple[str, object]]) -> str:
    """Rows of a name and a value."""
    cells = (f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in rows)
    return f"<table>{''.join(cells)}</table>"


def grid(titles: Iterable[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows below a header; None is an empty cell."""
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def note(text: str) -> str:
    """A paragraph in grey, such as a legend."""
    return f'<p class="note">{escape(text)}</p>'


def figure(value: float | None) -> str:
    """Four digits."""
    return "not measured" if value is None else f"{value:.4g}"


def _cell(value: object) -> str:
    return "" if value is None else escape(str(value))
