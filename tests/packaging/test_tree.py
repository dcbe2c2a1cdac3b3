"""House rules of the tree that no linter knows: sizes, no machine's paths, tests that always run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from videogen.core.tables import parse_toml

ROOT = Path(__file__).resolve().parents[2]
MADE = {
    ".git",
    ".venv",
    "build",
    "dist",
    "out",
    "wheels",
    "__pycache__",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".hypothesis",
}
LIMIT_BYTES = 80_000_000
FILE_LINES, FUNCTION_LINES = 500, 80
MACHINE_PATH = re.compile(r"(?<![\w.<{/])/(home|root|Users|work|mnt|opt|data)/\w")


def files(*suffixes: str) -> Iterator[Path]:
    for top in sorted(p for p in ROOT.iterdir() if p.name not in MADE and not p.name.endswith(".egg-info")):
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and not MADE & set(path.parts) and (not suffixes or path.suffix in suffixes):
                yield path


def test_tree_stays_small() -> None:
    assert sum(path.stat().st_size for path in files()) < LIMIT_BYTES


@pytest.mark.parametrize("path", [pytest.param(p, id=p.relative_to(ROOT).as_posix()) for p in files(".py")])
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LINES, f"{node.name} has {length} lines"


def test_no_path_of_one_machine() -> None:
    named = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files(".py", ".toml", ".md", ".txt", ".json", ".yaml", "")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert not named


def test_no_test_is_skipped() -> None:
    marks = re.compile(r"\b(mark\.(skip|xfail|skipif)|pytest\.(skip|xfail|importorskip))\b")
    own = Path(__file__)
    marked = [
        p.name for p in files(".py") if p != own and "tests" in p.parts and marks.search(p.read_text(encoding="utf-8"))
    ]
    assert not marked


def test_pins_lie_in_the_ranges() -> None:
    """Each dependency of any extra that the tests install is pinned, at a version that its range allows."""
    from packaging.requirements import Requirement

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {
        (r := Requirement(line)).name.lower(): next(iter(r.specifier)).version
        for line in lines
        if line and line[0] != "#"
    }
    project = parse_toml((ROOT / "pyproject.toml").read_text(encoding="utf-8"), "pyproject.toml")["project"]
    extras = project["optional-dependencies"]
    for text in [*project["dependencies"], *extras["dev"], *extras["docs"]]:
        wanted = Requirement(text)
        if wanted.name != "tomli":  # only for Pythons that the pins are not for
            assert wanted.specifier.contains(pins[wanted.name.lower()]), text
    assert pins["torch"] == "2.13.0"


def test_the_oldest_diffusers_is_the_one_that_is_tested() -> None:
    project = parse_toml((ROOT / "pyproject.toml").read_text(encoding="utf-8"), "pyproject.toml")["project"]
    (oldest,) = re.findall(r"diffusers>=([\d.]+)", " ".join(project["dependencies"]))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.findall(r"OLDEST_DIFFUSERS := ([\d.]+)\.0$", makefile, re.MULTILINE) == [oldest]
