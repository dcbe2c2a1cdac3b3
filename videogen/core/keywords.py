"""Keyword arguments of earlier versions, which a class still takes under today's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from operator import attrgetter
from typing import Any, TypeVar

_Class = TypeVar("_Class", bound=type)


def with_earlier_keywords(renamed: Mapping[str, str]) -> Callable[[_Class], _Class]:
    """Class decorator: a keyword argument `old` of `renamed` (old -> new) is passed as `new`, and `instance.old` reads
    `instance.new`. TypeError where both are given."""

    def decorate(cls: _Class) -> _Class:
        initialise = cls.__init__  # type: ignore[misc]

        @wraps(initialise)
        def __init__(self: Any, *values: Any, **keywords: Any) -> None:
            for old in renamed.keys() & keywords.keys():
                new = renamed[old]
                if new in keywords:
                    raise TypeError(f"{cls.__name__}: {old} is the earlier name of {new}; give one of them")
                keywords[new] = keywords.pop(old)
            initialise(self, *values, **keywords)

        cls.__init__ = __init__  # type: ignore[misc]
        for old, new in renamed.items():
            setattr(cls, old, property(attrgetter(new)))
        return cls

    return decorate
