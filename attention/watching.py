"""Validation of the attention kernels of a diffusers model or pipeline, until the handle is closed.

    with validate(pipeline) as handle:
        pipeline("a prompt")
    print(handle.report())

Hooks on each attention module count its calls. Its first call with inputs of a new shape runs within a torch function
mode, in which each kernel is compared with its reference before its result is used (`kernels.watch`); later calls cost
next to nothing. A module that is set to another backend of diffusers (flash-attn, xformers, SageAttention) makes this
one call through torch's function, and the backend is called with the tensors that arrive there. Nothing is changed: the
results are those of a model without hooks, bit for bit, unless a kernel is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from videogen.core.attachment import Attachment, ForwardAttachment, attachments_in
from videogen.core.denoisers import find_denoisers

from .dispatch import NATIVE, attention_modules, backend_function, backend_of, use_native_backend
from .kernels.validation import QUANTIZED
from .kernels.watch import KernelWatch, Verdict, as_call, current_watch, run_sdpa, watching

_SDPA = torch.nn.functional.scaled_dot_product_attention
_Verdicts = dict[tuple[object, ...], Verdict]
#: Of each model, so that a further run of it checks only what is new.
_verdicts: WeakKeyDictionary[nn.Module, _Verdicts] = WeakKeyDictionary()
_QUANTIZED = ("sage", "_sage")


def validate(target: Any, *, strict: bool = False, compiled: bool = False) -> ValidationHandle:
    """Check each attention kernel of a model, or of all of a pipeline's denoisers, at its first call with a new shape,
    dtype or head size, until `close()`.

    A wrong kernel is reported once and replaced; strict: it raises NumericsError. compiled: blocks of the model are, or
    will be, compiled: their kernels are looked at in one additional call of the model without compiled code, whose
    result is not used, and a wrong one raises in any case. Attach sparse attention afterwards, within. Raises
    InputError for what is no model or pipeline.
    """
    return ValidationHandle(target, strict, compiled)


class ValidationHandle:
    """Validation of one model or pipeline. `report()` says which kernel ran how many calls; `close()` ends it."""

    def __init__(self, target: Any, strict: bool = False, compiled: bool = False) -> None:
        models = find_denoisers(target)
        self.watch = KernelWatch(verdicts_of(next(iter(models.values()))), strict)
        self._modules: list[_WatchedModule] = []
        for name, model in models.items():
            if compiled:
                self._modules.append(_WatchedCompiledModel(model, self.watch))
            else:
                parts = _watched_parts(model)
                self._modules += [_WatchedModule(part, self.watch, f"{name}.{path}") for path, part in parts if path]
                self._modules += [_WatchedModule(part, self.watch) for path, part in parts if not path]

    def report(self) -> dict[str, Any]:
        """calls: by kernel; validated: kernels and shapes; wrong: what was replaced, by what, and why."""
        return self.watch.report()

    def close(self) -> None:
        """Take the hooks off."""
        for module in self._modules:
            module.detach()

    def __enter__(self) -> ValidationHandle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def validate_calls(watch: KernelWatch) -> Iterator[None]:
    """Check and count all attention kernels of the code in this block, such as a text encoder or a decoder."""
    with watching(watch), WatchMode(watch.calls):
        yield


def verdicts_of(model: nn.Module) -> _Verdicts:
    """What is known about the kernels at the shapes of this model's runs so far."""
    return _verdicts.setdefault(model, {})


def _watched_parts(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The attention modules by name, or the model, without a name, where it has none that diffusers knows as such."""
    return list(attention_modules(model)) or [("", model)]


class WatchMode(TorchFunctionMode):
    """Passes calls of `scaled_dot_product_attention` to the current watch.

    counts: where they are counted; backend: of diffusers, that is to run in place of torch's.
    """

    def __init__(self, counts: Counter[str], backend: str = NATIVE) -> None:
        super().__init__()
        self._counts, self._backend = counts, backend

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.compiler.is_compiling():  # flex attention compiles itself; the compiler traces this mode, too
            return func(*args, **(kwargs or {}))
        watch = current_watch()
        if func is not _SDPA or watch is None:
            return func(*args, **(kwargs or {}))
        if self._backend == NATIVE:
            return run_sdpa(func, args, kwargs or {}, self._counts)
        return _run_backend(self._backend, watch, func, args, kwargs or {}, self._counts)


def _run_backend(
    name: str, watch: KernelWatch, func: Any, args: Any, kwargs: dict[str, Any], counts: Counter[str]
) -> Any:
    """A call of a backend of diffusers, as its dispatch makes it, from the arguments of torch's function."""
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    swapped = {key: given[key].transpose(1, 2) for key in ("query", "key", "value")}

    def compute() -> tuple[torch.Tensor, None]:
        return backend_function(name)(**{**given, **swapped}).transpose(1, 2), None

    def native() -> tuple[torch.Tensor, None]:
        return func(*args, **kwargs), None

    precision = QUANTIZED if name.startswith(_QUANTIZED) else 0.0
    out, _ = watch.run(name, as_call(given), compute, [(NATIVE, native)], counts=counts, precision=precision)
    return out


class _WatchedModule(Attachment):
    """The hooks on one module. name: of an attention module, for messages; known: calls by kernel in one forward pass
    with inputs of each signature."""

    kind: ClassVar[str] = "kernel validation"

    def __init__(self, module: nn.Module, watch: KernelWatch, name: str = "") -> None:
        self.watch, self._name = watch, name
        self.known: dict[object, Counter[str]] = {}
        self._open: list[tuple[ExitStack, object, Counter[str]]] = []
        self._hooks = [
            module.register_forward_pre_hook(self._begin, with_kwargs=True),
            module.register_forward_hook(self._end, always_call=True),
        ]

    def detach(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch.compiler.is_compiling():
            return
        stack = ExitStack()
        stack.enter_context(watching(self.watch))
        backend = backend_of(module) if hasattr(module, "processor") else NATIVE
        signature = (backend, *(_signature(x) for x in (*args, *kwargs.values())))
        counts = self.known.get(signature, Counter())
        self.watch.layer, self.watch.checks_inputs = self._name, signature not in self.known
        if signature not in self.known:
            restore: Callable[[], None] | None = use_native_backend(module) if backend != NATIVE else None
            if restore is not None:
                stack.callback(restore)
            stack.enter_context(WatchMode(counts, backend))
        self._open.append((stack, signature, counts))

    def _end(self, *_: Any) -> None:
        if not self._open:
            return
        stack, signature, counts = self._open.pop()
        stack.close()
        self.watch.layer, self.watch.checks_inputs = "", True
        self.watch.calls.update(counts)
        replaced = {verdict.replacement for verdict in self.watch.wrong()}
        if not replaced & counts.keys():  # else each call is looked at, so that it runs the replacement
            self.known[signature] = counts


class _WatchedCompiledModel(_WatchedModule):
    """The hooks on a model with compiled blocks, in which no hook and no mode may be.

    Its first call with inputs of a signature is preceded by one without compiled code. That call is left out where
    other attachments would take part in it.
    """

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        stack = ExitStack()
        signature = tuple(_signature(x) for x in (*args, *kwargs.values()))
        if signature not in self.known:
            self.known[signature] = self._count(module, args, kwargs)
        stack.enter_context(watching(self.watch))
        self._open.append((stack, signature, self.known[signature]))

    def _count(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Counter[str]:
        """Calls by kernel of one call, each compared with its reference."""
        counts: Counter[str] = Counter()
        if any(isinstance(other, ForwardAttachment) and other.takes_part for other in attachments_in(module)):
            return counts
        strict = KernelWatch(self.watch.verdicts, strict=True, used=self.watch.used)
        with watching(strict), WatchMode(counts), torch.compiler.set_stance("force_eager"):
            type(module).forward(module, *args, **kwargs)
        return counts


def _signature(value: Any) -> object:
    """What of an input a kernel may depend on."""
    return (tuple(value.shape), value.dtype, value.device) if isinstance(value, torch.Tensor) else type(value)
