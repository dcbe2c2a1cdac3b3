"""Turns of an engine's methods: one at a time uses the model, whichever thread calls it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from videogen.core.turns import turns_of

if TYPE_CHECKING:
    from .engine import Engine

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def in_turn(
    method: Callable[Concatenate[Engine, _Arguments], _Result],
) -> Callable[Concatenate[Engine, _Arguments], _Result]:
    """A method that waits until no other thread uses the engine's model."""

    @wraps(method)
    def run(engine: Engine, /, *arguments: _Arguments.args, **options: _Arguments.kwargs) -> _Result:
        with turns_of(engine.backbone.denoisers()[0]):
            return method(engine, *arguments, **options)

    return run
