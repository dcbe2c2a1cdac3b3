"""Docstrings of the public names: each is there, gives the shapes of its tensors, and names the errors it raises."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest

import videogen


def public_objects() -> Iterator[tuple[str, Any]]:
    """(name, object) of the classes in `videogen.__all__` and of their public methods and properties."""
    for name in videogen.__all__:
        thing = getattr(videogen, name)
        if not inspect.isclass(thing):
            continue
        yield name, thing
        for member, value in vars(thing).items():
            function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            if not member.startswith("_") and inspect.isfunction(function):
                yield f"{name}.{member}", function


OBJECTS = dict(public_objects())


def raised_by(thing: Any) -> set[str]:
    """Names of the errors that a function, or a class when it is made, raises by itself."""
    functions = [thing] if inspect.isfunction(thing) else [vars(thing).get(name) for name in ("__post_init__",)]
    raised = set()
    for function in filter(None, functions):
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
                raised.add("InputError" if node.exc.func.id == "unknown" else node.exc.func.id)
    return raised


@pytest.mark.parametrize("name", OBJECTS)
def test_a_public_name_is_documented(name: str) -> None:
    text = OBJECTS[name].__doc__ or ""
    assert len(text.split()) >= 3 and not text.startswith(f"{name}("), "a dataclass's own signature is no docstring"
    assert raised_by(OBJECTS[name]) <= set(text.replace(",", " ").replace(".", " ").replace(":", " ").split())


@pytest.mark.parametrize("name", [name for name, thing in OBJECTS.items() if inspect.isfunction(thing)])
def test_tensors_have_their_shapes(name: str) -> None:
    """In the docstring of the method, or of its class where that has the legend."""
    function, owner = OBJECTS[name], OBJECTS[name.partition(".")[0]]
    annotations = " ".join(map(str, function.__annotations__.values()))
    if "torch.Tensor" in annotations or "ndarray" in annotations:
        assert "[" in (function.__doc__ or "") + (owner.__doc__ or "")
