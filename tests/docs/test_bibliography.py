"""Bibliography: every paper that the code cites is listed, and each row names files that cite it or exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "bibliography.md").read_text(encoding="utf-8")
ARXIV = re.compile(r"\b(\d{4}\.\d{5})\b")
SOURCES = [path for top in ("attention", "schedulers", "videogen", "tools") for path in (ROOT / top).rglob("*.py")]


def test_every_cited_paper_is_listed() -> None:
    cited = {number for path in SOURCES for number in ARXIV.findall(path.read_text(encoding="utf-8"))}
    assert cited and cited <= set(ARXIV.findall(PAGE)), cited - set(ARXIV.findall(PAGE))


def test_links_are_of_the_paper_that_they_name() -> None:
    links = re.findall(r"\[([^\]]+)\]\(https://arxiv\.org/abs/([^)]+)\)", PAGE)
    assert len(links) > 20 and all(name == number for name, number in links)


def test_files_that_it_names_exist() -> None:
    named = set(re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", PAGE))
    missing = {name for name in named if not (ROOT / name).exists()}
    assert named and not missing, missing
