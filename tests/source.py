"""Source code as data, for tests of conventions that the code follows."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path


def compared_strings(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of each string that is compared with something, also within a tuple, a set or a `match`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        operands = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
        operands += [node.value] if isinstance(node, ast.MatchValue) else []
        for operand in operands:
            for part in operand.elts if isinstance(operand, ast.Tuple | ast.List | ast.Set) else [operand]:
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.lineno, part.value
