"""Attachments to a model instance: objects that hook into modules, or replace their `forward`, until detached.

Everything that runs inside somebody else's model (sparse attention, propagation, window attention, feature caches) is
attached to the instance, never to its class, and leaves the model exactly as it was. While something is attached the
model cannot be copied or pickled, as the copy would call into the original's attachments. Compiled models are refused:
the compiled code would never call the attachment.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from torch import nn

from videogen.core.errors import InputError


class Attachment:
    """Base of the objects whose hooks or forwards are on a model. Copying or pickling that model raises InputError."""

    #: The name of the attachment in messages, such as "window attention".
    kind: ClassVar[str]

    def __reduce__(self) -> Any:
        raise InputError(f"a model cannot be copied or saved while {self.kind} is attached; close() the handle first")


class ForwardAttachment(Attachment, ABC):
    """Replaces the `forward` of one module instance by its own, from construction until `detach()`.

    Several may be on one module. They may be detached in any order: one that is not the outermost is taken out of the
    chain. original: the earlier `module.forward`, to be called from `forward`.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._attach()

    @abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Runs in place of the module's forward while this is attached."""

    @property
    def replacement(self) -> Callable[..., Any]:
        """The callable that becomes `module.forward`. A subclass that has a `__signature__` may return itself."""
        return self.forward

    def _attach(self) -> None:
        """Become the outermost forward, even if other code has replaced this one since."""
        self._before = vars(self._module).get("forward")  # None: the class's own
        self.original: Callable[..., Any] = self._module.forward
        self._module.forward = self.replacement
        self._attached = True

    def detach(self) -> None:
        """Restore the module. A second time does no harm."""
        if not self._attached:
            return
        self._attached = False
        outer = next((other for other in _forward_chain(self._module) if _owner(other._before) is self), None)
        if outer is not None:
            outer._before, outer.original = self._before, self.original
        elif self._before is None:
            vars(self._module).pop("forward", None)
        else:
            self._module.forward = self._before


def attachments_on(module: nn.Module) -> Iterator[Attachment]:
    """The attachments on this one module: of its forward, outermost first, then of its hooks."""
    yield from _forward_chain(module)
    for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):
        owner = _owner(hook)
        if isinstance(owner, Attachment) and not isinstance(owner, ForwardAttachment):
            yield owner


def check_free(module: nn.Module, *kinds: type[Attachment], name: str = "") -> None:
    """InputError if an attachment of these kinds is already on the module. name: of the model, for the message."""
    for found in attachments_on(module):
        if isinstance(found, kinds):
            raise InputError(
                f"{name or type(module).__name__} has {found.kind} attached already; close() that handle first"
            )


def check_not_compiled(model: nn.Module, name: str = "") -> None:
    """InputError if calls of the model, or of a part of it, go to code that was compiled before."""
    parts = (getattr(module, "_compiled_call_impl", None) for module in model.modules())
    if hasattr(model, "_orig_mod") or any(part is not None for part in parts):
        raise InputError(
            f"{name or type(model).__name__} is compiled, so an attachment would never run; attach first, then compile"
        )


def _forward_chain(module: nn.Module) -> Iterator[ForwardAttachment]:
    """Outermost first, as far as attachments follow each other."""
    owner = _owner(vars(module).get("forward"))
    while isinstance(owner, ForwardAttachment):
        yield owner
        owner = _owner(owner._before)


def _owner(function: Any) -> Any:
    """The object of a bound method; else the callable itself."""
    return getattr(function, "__self__", function)
