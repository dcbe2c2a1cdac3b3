"""The table of pipelines in docs/guide/models.md: `python -m tools.models_page` writes it (also `make readme`)."""

from __future__ import annotations

from pathlib import Path

from videogen.backbones.pipeline_listing import build_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "guide" / "models.md"
BEGIN, END = "<!-- pipelines: begin (make readme) -->", "<!-- pipelines: end -->"


def with_table(text: str) -> str:
    """A page with the table between its marks."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{build_table()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
