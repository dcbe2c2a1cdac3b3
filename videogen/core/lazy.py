"""Lazy imports: the public names of a package, and objects that a table names, are imported when first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package. homes: the module that defines each public name."""

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f".{homes[name]}", package), name)

    return load


def load_object(home: str, package: str) -> Any:
    """The object that a table row names as its home.

    home: `module:name` for a module of this package, or `package.module:name` for any other.
    """
    module, _, name = home.partition(":")
    return getattr(import_module(module if "." in module else f"{package}.{module}"), name)
