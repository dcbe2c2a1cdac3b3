"""The link tree shows type checkers what is installed, new files included, without a second run."""

from __future__ import annotations

from pathlib import Path

from tools.typing_links import TOP_PACKAGES, link


def test_links_show_the_installed_layout_and_follow_the_tree(tmp_path: Path) -> None:
    for folder in ("videogen/core", *TOP_PACKAGES):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "videogen" / "__init__.py").touch()
    for _ in range(2):  # a second run replaces the first
        package = link(tmp_path) / "videogen"
    (tmp_path / "attention" / "later.py").write_text("x = 1\n", encoding="utf-8")
    assert (package / "attention" / "later.py").read_text(encoding="utf-8") == "x = 1\n"
    assert {path.name for path in package.iterdir()} == {"__init__.py", "core", *TOP_PACKAGES}
