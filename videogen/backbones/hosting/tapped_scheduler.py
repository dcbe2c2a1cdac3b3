"""Tapped scheduler: a copy of a diffusers scheduler whose `step` first asks the host.

The copy is of a subclass with the name, module and signatures of the original, since pipelines inspect them. Deep
copies that a pipeline makes, for its audio, are tapped too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any

#: (scheduler, its real step, positional arguments, keywords) -> what `step` returns
Tap = Callable[[Any, Callable[..., Any], tuple[Any, ...], Mapping[str, Any]], Any]


def tap_scheduler(scheduler: Any, tap: Tap) -> Any:
    """A shallow copy of the scheduler whose `step` is answered by `tap`."""
    original = type(scheduler)
    real = original.step

    @wraps(real)
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        return tap(self, lambda *a, **k: real(self, *a, **k), args, kwargs)

    tapped = type(original.__name__, (original,), {"step": step, "__module__": original.__module__})
    twin = copy.copy(scheduler)
    twin.__class__ = tapped
    return twin


def find_tapped(scheduler: Any, values: Iterable[Any]) -> list[Any]:
    """A tapped scheduler and the copies of it among some values, also in lists."""
    found = [scheduler]
    for value in values:
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, type(scheduler)) and not any(one is known for known in found):
                found.append(one)
    return found


def save_scheduler(scheduler: Any) -> dict[str, Any]:
    """All that later steps of a scheduler depend on, as a copy; its timesteps stay the same object."""
    same = {id(value): value for value in (getattr(scheduler, name, None) for name in _FIXED) if value is not None}
    return copy.deepcopy(vars(scheduler), same)


def restore_scheduler(scheduler: Any, saved: Mapping[str, Any]) -> None:
    """Put a scheduler back to what `save_scheduler` returned, which can be used again."""
    same = {id(value): value for value in (saved.get(name) for name in _FIXED) if value is not None}
    values = copy.deepcopy(dict(saved), same)
    vars(scheduler).clear()
    vars(scheduler).update(values)


_FIXED = ("timesteps", "sigmas", "_internal_dict")
