"""The guide's table of pipelines is the one that `videogen models --table` prints."""

from __future__ import annotations

from tools.models_page import PAGE, with_table


def test_the_page_has_the_present_table() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page) == page, "write it with `make readme`"
