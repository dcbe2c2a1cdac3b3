"""Attachments to a model instance: objects that hook into modules, or replace their `forward`, until detached.

Everything that runs inside somebody else's model (sparse attention, propagation, window attention, feature caches) is
attached to the instance, never to its class, and leaves the model exactly as it was. While something is attached the
model cannot be copied or pickled, as the copy would call into the original's attachments. Compiled models are refused:
the compiled code would never call the attachment.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

from torch import nn

from videogen.core.errors import InputError


class Attachment:
    """Base of the objects whose hooks or forwards are on a model. Copying or pickling that model raises InputError."""

    #: The name of the attachment in messages, such as "window attention".
    kind: ClassVar[str]
    #: Whether what it keeps between calls is for one batch size, so that no other attachment may batch several steps
    #: into one call of the model.
    fixed_batch: ClassVar[bool] = False
    #: The handle that the user was given, whose `close()` removes this and all that belongs to it; None for a part.
    handle: Any = None

    def __reduce__(self) -> Any:
        raise InputError(f"a model cannot be copied or saved while {self.kind} is attached; close() the handle first")

    def refuse_copies(self, module: nn.Module) -> None:
        """Refuse even shallow copies of the module, whose hooks and forward the copy would share."""
        guard = vars(module).setdefault("__getstate__", _CopyGuard())
        if isinstance(guard, _CopyGuard):
            guard.attachments.append(self)

    def allow_copies(self, module: nn.Module) -> None:
        """Undo `refuse_copies`. A second time does no harm."""
        guard = vars(module).get("__getstate__")
        if not isinstance(guard, _CopyGuard):
            return
        guard.attachments = [other for other in guard.attachments if other is not self]
        if not guard.attachments:
            del vars(module)["__getstate__"]


class _CopyGuard:
    """Takes the place of a module's `__getstate__`, which every way of copying or saving it calls."""

    def __init__(self) -> None:
        self.attachments: list[Attachment] = []

    def __call__(self) -> Any:
        return self.attachments[-1].__reduce__()


class ForwardAttachment(Attachment, ABC):
    """Replaces the `forward` of one module instance by itself, with the same signature, until `detach()`.

    Several may be on one module. They may be detached in any order: one that is not the outermost is taken out of the
    chain. One that other code has wrapped in the meantime stays where it is and passes calls on, until that code
    restores it. original: the earlier `module.forward`, to be called from `forward`.
    """

    #: Whether it does more than to pass calls on.
    takes_part: ClassVar[bool] = True

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._attach()

    @abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Runs in place of the module's forward while this is attached."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._attached:
            return self.forward(*args, **kwargs)
        if vars(self._module).get("forward") is self:
            self._restore_forward()
        return self.original(*args, **kwargs)

    @property
    def is_attached(self) -> bool:
        return self._attached

    def _attach(self) -> None:
        """Become the outermost forward, even if other code has replaced this one since."""
        self._before = vars(self._module).get("forward")  # None: the class's own
        self.original: Callable[..., Any] = self._module.forward
        self.__signature__ = inspect.signature(self.original)  # other tools read it
        self._module.forward = self
        self._attached = True
        self.allow_copies(self._module)
        self.refuse_copies(self._module)

    def detach(self) -> None:
        """Restore the module. A second time does no harm."""
        if not self._attached:
            return
        self._attached = False
        self.allow_copies(self._module)
        outer = next((other for other in _forward_chain(self._module) if other._before is self), None)
        if outer is not None:
            outer._before, outer.original = self._before, self.original
        elif vars(self._module).get("forward") is self:
            self._restore_forward()

    def _restore_forward(self) -> None:
        if self._before is None:
            vars(self._module).pop("forward", None)
        else:
            self._module.forward = self._before


class HookAttachment(ForwardAttachment):
    """Base of attachments that work by hooks: `_register_hooks` returns their handles, and calls are passed on.

    The forward is replaced all the same, because of `torch.compile`: code that was compiled for another instance of
    the class is used for this one without a look at its hooks (`skip_nnmodule_hook_guards`), but not if its forward is
    another.
    """

    takes_part: ClassVar[bool] = False

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self._hooks = self._register_hooks(module)

    @abstractmethod
    def _register_hooks(self, module: nn.Module) -> list[Any]:
        """Register the hooks, bound methods of this object, and return their handles."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.original(*args, **kwargs)

    def detach(self) -> None:
        for hook in self._hooks:
            hook.remove()
        super().detach()


def attachments_on(module: nn.Module) -> Iterator[Attachment]:
    """The attachments on this one module: of its forward, outermost first, then of its hooks."""
    found: list[Attachment] = [attachment for attachment in _forward_chain(module) if attachment.is_attached]
    for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):
        owner = getattr(hook, "__self__", hook)
        if isinstance(owner, Attachment) and not any(owner is other for other in found):
            found.append(owner)
    yield from found


def attachments_in(model: nn.Module) -> Iterator[Attachment]:
    """The attachments on the model and all its parts."""
    for module in model.modules():
        yield from attachments_on(module)


def check_unattached(model: nn.Module, instead: str) -> None:
    """InputError if any attachment is on the model or a part of it. instead: what to do, for the message."""
    found = next(attachments_in(model), None)
    if found is not None:
        raise InputError(f"{type(model).__name__} has {found.kind} attached; close() that handle and {instead}")


def check_free(module: nn.Module, *kinds: type[Attachment], name: str = "") -> None:
    """InputError if an attachment of these kinds is already on the module. name: of the model, for the message."""
    for found in attachments_on(module):
        if isinstance(found, kinds):
            raise InputError(
                f"{name or type(module).__name__} has {found.kind} attached already; close() that handle first, or "
                "detach() the model if it is lost"
            )


def close_handles(models: Iterable[nn.Module], *kinds: str) -> list[str]:
    """Close the handles of all attachments on these models and their parts, also those that the user has lost.

    kinds: only of attachments with these names; none given: all. Returns the names of those that were closed.
    """
    handles: dict[int, tuple[Any, str]] = {}
    for model in models:
        for attachment in attachments_in(model):
            if attachment.handle is not None and (not kinds or attachment.kind in kinds):
                handles.setdefault(id(attachment.handle), (attachment.handle, attachment.kind))
    for handle, _ in reversed(handles.values()):
        handle.close()
    return [kind for _, kind in handles.values()]


def check_not_compiled(model: nn.Module, places: Iterable[nn.Module] | None = None, name: str = "") -> None:
    """InputError if calls of the model, or of a part of it with a place in it, go to code that was compiled before.

    places: the modules that attachments are on; None: any part may be one.
    """
    compiled = [module for module in model.modules() if _is_compiled(module)]
    inside = {part for module in compiled for part in module.modules()}
    if compiled and (places is None or inside & {model, *places}):
        raise InputError(
            f"{name or type(model).__name__} is compiled, so an attachment would never run; attach first, then compile"
        )


def _is_compiled(module: nn.Module) -> bool:
    return "_orig_mod" in module._modules or getattr(module, "_compiled_call_impl", None) is not None


def _forward_chain(module: nn.Module) -> Iterator[ForwardAttachment]:
    """Outermost first, also those under wrappers of other code that name what they wrap (`functools.wraps`)."""
    found = vars(module).get("forward")
    while found is not None:
        if isinstance(found, ForwardAttachment):
            yield found
            found = found._before
        else:
            found = getattr(found, "__wrapped__", None)
