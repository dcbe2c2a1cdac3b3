"""Vocabulary test: no name, docstring, comment, message or page uses a word that the project has another term for."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.vocabulary import IDENTIFIERS, QUOTES_EARLIER_VERSIONS, TEXTS, Banned

ROOT = Path(__file__).resolve().parents[2]
CODE = ("attention", "schedulers", "configs", "videogen", "tools", "docs", "examples", "tests")
PAGES = ("*.md", "docs/*.md", "docs/guide/*.md", "docs/extending/*.md", "examples/*.md", "tools/*.md")
THE_LIST = ROOT / "tests" / "packaging" / "vocabulary.py"
FILES = sorted(path for folder in CODE for path in (ROOT / folder).rglob("*.py") if path != THE_LIST)
MARKDOWN = sorted(path for pattern in PAGES for path in ROOT.glob(pattern))


def names_in(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, name) of everything that a file defines: functions, classes, arguments, variables, fields."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def words_of(name: str) -> list[str]:
    """The words of a name in snake or camel case, in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]


def texts_in(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of each comment and string of a file, f-strings included."""
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in kinds:
            yield token.start[0], token.string


def faults(path: Path) -> Iterator[str]:
    """Every use of a banned word in a file, with what to write instead."""
    name, source = path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")

    def use(line: int, found: str, row: Banned) -> Iterator[str]:
        if name not in (*row.allowed, *QUOTES_EARLIER_VERSIONS):
            yield f"{name}:{line} {found!r}: {row.instead}"

    if path.suffix == ".py":
        for line, identifier in names_in(ast.parse(source)):
            for row in IDENTIFIERS:
                if any(re.fullmatch(row.pattern, word) for word in words_of(identifier)):
                    yield from use(line, identifier, row)
        texts = texts_in(source)
    else:
        texts = iter(enumerate(source.splitlines(), 1))
    for line, text in texts:
        for row in TEXTS:
            for found in row.found_in(text):
                yield from use(line, found, row)


@pytest.mark.parametrize(
    ("name", "row"),
    [pytest.param(name, row, id=f"{row.pattern} in {name}") for row in (*IDENTIFIERS, *TEXTS) for name in row.allowed],
)
def test_an_exception_is_needed(name: str, row: Banned) -> None:
    source = (ROOT / name).read_text(encoding="utf-8")
    names = [word for _, identifier in names_in(ast.parse(source)) for word in words_of(identifier)]
    assert row.found_in("\n".join([*names, *(text for _, text in texts_in(source))]))


@pytest.mark.parametrize("path", [pytest.param(p, id=p.relative_to(ROOT).as_posix()) for p in [*FILES, *MARKDOWN]])
def test_terms_are_the_projects(path: Path) -> None:
    assert not list(faults(path))
