"""Refusals of a hosted pipeline's own checks: what it raises before its first step, as errors of the request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from videogen.core.errors import InputError, VideogenError

#: what the libraries raise for arguments of another type, size or range; ValueError is always the request's
_OF_OPTIONS = (TypeError, AttributeError, ArithmeticError, LookupError, RuntimeError)


@contextmanager
def explain_refusal(name: str, options: Mapping[str, Any]) -> Iterator[None]:
    """InputError for what a pipeline's own checks refuse, naming the options that were given to it. Without any, other
    errors than ValueError are not the request's, and stay as they are."""
    try:
        yield
    except (VideogenError, torch.OutOfMemoryError):
        raise
    except ValueError as error:
        raise _refusal(name, options, error) from error
    except _OF_OPTIONS as error:
        if not options:
            raise
        raise _refusal(name, options, error) from error


def _refusal(name: str, options: Mapping[str, Any], error: Exception) -> InputError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    given = ", ".join(f"{option}={_shortened(value)}" for option, value in options.items())
    hint = f"; check its options: {given}" if given else ""
    return InputError(f"{name} refuses the request: {reason}{hint}")


def _shortened(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return f"{type(value).__name__} {list(shape)}" if shape is not None else repr(value)[:60]
