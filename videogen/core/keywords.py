"""Keyword arguments: those of earlier versions, which a class still takes under today's names, and misspelt ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from operator import attrgetter
from typing import Any, TypeVar

from .errors import unknown

_Class = TypeVar("_Class", bound=type)
_Callable = TypeVar("_Callable", bound=Callable[..., Any])


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


def suggest_keywords(target: _Callable) -> _Callable:
    """Decorator of a class or function: an unknown keyword argument raises InputError that names the nearest one.

    Of a class, its `__init__`. With `with_earlier_keywords`, it is the inner one.
    """
    call: Callable[..., Any] = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]
    kinds = {name: parameter.kind for name, parameter in inspect.signature(call).parameters.items()}
    if inspect.Parameter.VAR_KEYWORD in kinds.values():
        return target
    known = [name for name, kind in kinds.items() if kind is not inspect.Parameter.POSITIONAL_ONLY and name != "self"]

    @wraps(call)
    def checked(*values: Any, **keywords: Any) -> Any:
        for name in keywords:
            if name not in known:
                raise unknown(f"option of {target.__name__}", name, known)
        return call(*values, **keywords)

    if isinstance(target, type):
        target.__init__ = checked  # type: ignore[misc]
        return target
    return checked  # type: ignore[return-value]
