"""Types of a hosted pipeline's options, checked against its call's annotations and defaults before it is loaded.

An annotation that cannot be read allows any value: the pipeline's own checks follow (`refusals.explain_refusal`).
"""

from __future__ import annotations

import inspect
import math
import re
import types
from collections.abc import Mapping, Sequence
from enum import Enum
from numbers import Integral, Real
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from videogen.core.errors import InputError

#: whole numbers that count something, or are a size
_COUNT = re.compile(r"(^num_|_length$|_size$|_tiles$)")
_FRACTIONS = ("strength", "denoise_strength")


def check_option(call: Any, parameter: inspect.Parameter, value: Any, pipeline: str) -> None:
    """InputError for a value that the parameter's annotation and default rule out. call: the function that it is of;
    pipeline: the class, for the message."""
    hint, default = _hint_of(call, parameter), parameter.default
    name = f"option {parameter.name}={_described(value)} of {pipeline}"
    if value is None and not isinstance(default, bool | int | float):
        return  # also where the annotation does not say so
    if not _fits(value, hint):
        raise InputError(f"{name} must be {_named(hint)}")
    if isinstance(value, Real) and not math.isfinite(value):
        raise InputError(f"{name} must be a finite number")
    if _COUNT.search(parameter.name) and _is_integer(value) and value < 1 and _is_integer(default) and default >= 1:
        raise InputError(f"{name} must be at least 1, such as its default of {default}")
    if parameter.name in _FRACTIONS and isinstance(value, int | float) and not 0 <= value <= 1:
        raise InputError(f"{name} must be from 0 to 1")


def _hint_of(call: Any, parameter: inspect.Parameter) -> Any:
    """The annotation as a type; without one that can be read, the default's type where that is a plain value."""
    hint = parameter.annotation
    if isinstance(hint, str):
        try:
            hint = get_type_hints(call).get(parameter.name, Any)
        except (NameError, TypeError, AttributeError, SyntaxError):
            hint = Any
    if hint not in (inspect.Parameter.empty, Any):
        return hint
    default = parameter.default
    return type(default) if isinstance(default, bool | int | float | str) else Any


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin is Literal:
        return value in arguments
    kind = origin or hint
    if kind is Any or not isinstance(kind, type):
        return True
    if kind is type(None):
        return value is None
    if kind in (int, float):
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    if issubclass(kind, Enum):
        return isinstance(value, kind) or value in [one.value for one in kind]
    if issubclass(kind, Mapping):
        return isinstance(value, Mapping)
    if (kind is not str and issubclass(kind, Sequence)) or kind.__module__ == "collections.abc":
        elements = [one for one in arguments if one is not Ellipsis]
        return isinstance(value, list | tuple) and all(not elements or _fits_any(item, elements) for item in value)
    if kind.__module__.partition(".")[0] == "torch":  # torch.FloatTensor is any float tensor's annotation
        several = (
            value if isinstance(value, list | tuple) and value else [value]
        )  # some take a list of tensors, unstated
        return all(hasattr(one, "detach") for one in several)
    return isinstance(value, kind)


def _fits_any(value: Any, hints: Sequence[Any]) -> bool:
    return any(_fits(value, hint) for hint in hints)


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _named(hint: Any) -> str:
    """A type as a message names it: `int`, `float or list[float]`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_named(one) for one in arguments if one is not type(None)))
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if arguments and origin is not None:
        return f"{origin.__name__}[{', '.join(_named(one) for one in arguments)}]"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " or ".join(repr(one.value) for one in hint)
    return hint.__name__ if isinstance(hint, type) else str(hint).removeprefix("typing.")


def _described(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return f"<{type(value).__name__} {list(shape)}>" if shape is not None else repr(value)[:60]
