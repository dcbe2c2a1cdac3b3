"""Extending pages: the file of each is written, its row added, and its example run and checked."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from tests.docs.pages import ROOT, code_blocks

FOLDER = ROOT / "docs" / "extending"
Names = dict[str, Any]


def package_of(folder: str) -> ModuleType:
    """The package that a folder of the repository installs as."""
    parts = Path(folder).parts
    return import_module(".".join(parts if parts[0] == "videogen" else ("videogen", *parts)))


def add_file(text: str, tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    """Make a page's file importable, as if it were in the folder that its first line names."""
    target = Path(text.partition("\n")[0].lstrip("# "))
    assert not (ROOT / target).exists(), "an example's name must be free"
    package, written = package_of(target.parent.as_posix()), tmp_path / target
    written.parent.mkdir(parents=True)
    written.write_text(text, encoding="utf-8")
    patch.setattr(package, "__path__", [*package.__path__, str(written.parent)])


def add_row(text: str, patch: pytest.MonkeyPatch) -> None:
    """Add a page's row to the table that its first line names, `FILE: TABLE`."""
    place, table = re.fullmatch(r"# (\S+)\.py: (\w+)", text.partition("\n")[0]).groups()  # type: ignore[union-attr]
    module = package_of(place)
    rows = getattr(module, table)
    if isinstance(rows, tuple):
        patch.setattr(module, table, (*rows, eval(text, vars(module))))
        return
    code = text.partition("\n")[2]
    added = eval(f"{{{code}}}", vars(module)) if code.startswith('"') else eval(code, vars(module))
    for name, row in (added if isinstance(added, dict) else {added.name: added}).items():
        patch.setitem(rows, name, row)
        if hasattr(module, "ROWS"):
            patch.setitem(module.ROWS, name, row)


def check_attention_policy(names: Names) -> None:
    report = names["video"].manifest["measured"]["attention"]
    assert report["config"]["policy"] == "stripes" and 0.25 <= report["mean_density"] < 0.6


def check_kernel(names: Names) -> None:
    reference = names["sparse_attention"](
        names["query"], names["key"], names["value"], names["block_map"], backend="torch"
    )
    torch.testing.assert_close(names["out"], reference, atol=2e-6, rtol=1e-5)
    assert names["block_map"].density < 1


def check_continuity_policy(names: Names) -> None:
    measured = names["video"].manifest["measured"]["long"]
    assert measured["continuity"]["policy"] == "last_latent" and measured["continuity"]["overlap"] == 1
    assert len(names["video"]) == 60 and [row["latents"] for row in measured["segments"]] == [9, 7]


CHECKS: dict[str, Callable[[Names], None]] = {
    "attention_policy": check_attention_policy,
    "kernel": check_kernel,
    "continuity_policy": check_continuity_policy,
}


@pytest.mark.parametrize("name", CHECKS)
def test_the_example_works(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: Names = {}
    for block in code_blocks(FOLDER / f"{name}.md", "python"):
        first = block.partition("\n")[0]
        if re.fullmatch(r"# \S+\.py", first):
            add_file(block, tmp_path, monkeypatch)
        elif re.fullmatch(r"# \S+\.py: \w+", first):
            add_row(block, monkeypatch)
        else:
            exec(compile(block, f"{name}.md", "exec"), names)
    CHECKS[name](names)


def test_every_page_is_run_and_listed() -> None:
    pages = {path.stem for path in FOLDER.glob("*.md")} - {"README"}
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert pages == set(CHECKS) and all(f"({name}.md)" in index for name in pages)
