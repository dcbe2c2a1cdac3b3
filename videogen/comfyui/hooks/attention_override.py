"""Override of attention during one run, above those of other node packs.

ComfyUI looks the override up at each call of attention. It is set around each evaluation of the model, when all others
have set theirs, and taken away after it, so that no other pack finds it. What it does not compute goes to the one that
it found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

OVERRIDE = "optimized_attention_override"
Attend = Callable[..., Any]


class AttentionOverride:
    """attend: computes a call; it is given what is below, with the arguments of ComfyUI's attention. approximate:
    whether it may change results; one that only reads them stays below those that do."""

    def __init__(self, attend: Attend, *, approximate: bool) -> None:
        self.approximate = approximate
        self._attend = attend
        self._previous: Attend | None = None
        self._is_active = False
        #: name of another pack's override that was found below; empty for none
        self.found = ""

    @contextmanager
    def installed(self, options: dict[str, Any]) -> Iterator[None]:
        """Set it in these `transformer_options` while the context lasts."""
        present = options.get(OVERRIDE)
        if present is self or (isinstance(present, AttentionOverride) and present._previous is self):
            yield
            return
        before, self._previous = self._previous, present
        over = present if isinstance(present, AttentionOverride) and present.approximate > self.approximate else None
        if over is not None:
            self._previous, over._previous = over._previous, self
        else:
            options[OVERRIDE] = self
        self._name_previous()
        try:
            yield
        finally:
            if over is not None:
                over._previous = self._previous
            elif present is None:
                del options[OVERRIDE]
            else:
                options[OVERRIDE] = present
            self._previous = before

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def __call__(self, func: Attend, *args: Any, **kwargs: Any) -> Any:
        """One call of attention. func: the kernel that ComfyUI selected."""
        if self._is_active:  # one below calls what was above it
            return func(*args, **kwargs)
        self._is_active = True
        try:
            return self._attend(self._below(func), *args, **kwargs)
        finally:
            self._is_active = False

    def name_of(self, func: Attend) -> str:
        """Of what computes a call: another pack's override, or ComfyUI's kernel."""
        return self.found or _name(func)

    def _below(self, func: Attend) -> Attend:
        previous = self._previous
        if previous is None:
            return func

        def below(*args: Any, **kwargs: Any) -> Any:
            return previous(func, *args, **kwargs)

        below.__name__ = _name(func)
        return below

    def _name_previous(self) -> None:
        below = self._previous
        while isinstance(below, AttentionOverride):
            below = below._previous
        self.found = "" if below is None else _name(below)


def _name(function: Attend) -> str:
    return str(getattr(function, "__name__", type(function).__name__))
