"""Attention module of a diffusers model whose calls of attention are intercepted.

Only while the module's forward runs, a torch function mode gives its calls of `scaled_dot_product_attention` to the
attached model, which may answer them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from videogen.core.attachment import HookAttachment
from videogen.core.errors import UnsupportedError

from .dense_result import DENSE, Dense
from .dispatch import NATIVE, attention_modules, backend_of, use_native_backend
from .kernels.watch import run_sdpa
from .layout import as_key_mask
from .operator import use_operator
from .run_checks import why_dense

if TYPE_CHECKING:
    from .attached_model import AttachedModel

#: Why the self-attention of a module can never be sparse.
LINEAR = "linear attention"
_SDPA = torch.nn.functional.scaled_dot_product_attention
_PARAMETERS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


def why_untouched(module: nn.Module) -> str:
    """Why an attention module is not softmax self-attention, as far as its class shows it; empty where it may be."""
    if getattr(module, "is_cross_attention", False):
        return "cross-attention"
    return LINEAR if "Linear" in type(module.processor).__name__ else ""


def check_softmax(model: nn.Module) -> None:
    """UnsupportedError where all self-attention of a model is known to be linear."""
    reasons = {why_untouched(module) for _, module in attention_modules(model)}
    if LINEAR in reasons and "" not in reasons:
        raise UnsupportedError(
            f"the self-attention of {type(model).__name__} is linear: it never computes a matrix of weights that could "
            "be made sparse; leave sparse attention out"
        )


class _AttentionMode(TorchFunctionMode):
    """Gives the calls of `scaled_dot_product_attention` to `answer(func, args, kwargs)`."""

    def __init__(self, answer: Callable[[Any, Any, Any], Any]) -> None:
        super().__init__()
        self._answer = answer

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._answer(func, args, kwargs or {}) if func is _SDPA else func(*args, **(kwargs or {}))


class AttachedLayer(HookAttachment):
    """One attention module, whose calls of attention are intercepted only while its forward runs.

    untouched: why the module is not self-attention of the video; empty where it is. ordinal: of the next call within
    this forward pass of the model. has_run: whether the module was ever called; has_attended: whether it called softmax
    self-attention, or was too short to look.
    """

    kind: ClassVar[str] = "sparse attention"

    def __init__(self, name: str, module: nn.Module, owner: AttachedModel) -> None:
        self.name, self.ordinal = name, 0
        self.untouched = "audio" if "audio" in name else why_untouched(module)
        self.processor_name = type(module.processor).__name__
        self.has_run = self.has_attended = False
        self._owner, self._text, self._video = owner, 0, 0
        self._signature = inspect.signature(module.forward)
        self._restore_backend: Callable[[], None] | None = None
        self._mode = _AttentionMode(self._answer)
        super().__init__(module)

    def _register_hooks(self, module: nn.Module) -> list[RemovableHandle]:
        return [
            module.register_forward_pre_hook(self._begin, with_kwargs=True),
            module.register_forward_hook(self._end, always_call=True),
        ]

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        values = self._signature.bind_partial(*args, **kwargs).arguments
        hidden, text = values.get("hidden_states"), values.get("encoder_hidden_states")
        self._video = hidden.shape[1] if isinstance(hidden, torch.Tensor) and hidden.ndim == 3 else 0
        self._text = text.shape[1] if isinstance(text, torch.Tensor) and text.ndim == 3 else 0
        self.has_run = True
        if not self.untouched:
            short = 0 < self._video + self._text < self._owner.config.min_length
            if not short:
                self._restore_backend = use_native_backend(module)
            elif backend_of(module) != NATIVE:
                self.has_attended = True  # as far as can be seen: its calls do not end in torch's function
        self._mode.__enter__()

    def answer(self, video: int, text: int, arguments: dict[str, Any]) -> Any:
        """A call of the operator in compiled code, see `operator`."""
        self._video, self._text, self.has_run = video, text, True
        return self._answer(_SDPA, (), arguments)

    def use_operator(self) -> Callable[[], None]:
        """For compiled code: answer the operator's calls instead of using hooks. Returns what goes back to them.

        A module whose forward other code has replaced keeps its hooks. One that is not self-attention runs plain.
        """
        module = self._module
        if vars(module).get("forward") is not self or self._before is not None:
            return lambda: None
        del vars(module)["forward"]
        for hook in self._hooks:
            hook.remove()
        undone = [] if self.untouched else [use_operator(module, self), use_native_backend(module)]

        def undo() -> None:
            for one in undone:
                if one is not None:
                    one()
            vars(module)["forward"] = self
            self._hooks = self._register_hooks(module)

        return undo

    @property
    def idle(self) -> str:
        """Why there was nothing to make sparse so far; empty where there was."""
        if self.has_attended:
            return ""
        return "no softmax self-attention" if self.has_run else "was not called"

    def _end(self, *_: Any) -> None:
        self._mode.__exit__(None, None, None)
        if self._restore_backend is not None:
            self._restore_backend()
            self._restore_backend = None

    def _answer(self, func: Any, args: Any, kwargs: Any) -> Any:
        call = {**dict(zip(_PARAMETERS, args, strict=False)), **kwargs}
        query, key, value = call["query"], call["key"], call["value"]
        if query.ndim != 4 or query.shape[2] != key.shape[2]:
            self.untouched = self.untouched or "cross-attention"
        if self.untouched:
            return func(*args, **kwargs)
        self.has_attended = True
        out = self._attend(query, key, value, call)
        return run_sdpa(func, args, kwargs) if out is DENSE else out

    def _attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, call: dict[str, Any]
    ) -> torch.Tensor | Dense:
        tokens, mask = query.shape[2], _with_four_axes(call.get("attn_mask"))
        causal, dropout = bool(call.get("is_causal")), call.get("dropout_p") or 0.0
        if why := why_dense(self._owner.config, query, key, value, mask, is_causal=causal, dropout_p=dropout):
            return self._owner.refuse(self, tokens, why)
        joint = self._text and self._video < tokens <= self._video + self._text
        key_mask = as_key_mask(mask, query, key)
        return self._owner.attend(
            self, tokens - self._video if joint else 0, query, key, value, scale=call.get("scale"), mask=key_mask
        )


def _with_four_axes(mask: torch.Tensor | None) -> torch.Tensor | None:
    return mask if mask is None or mask.ndim >= 4 else mask[(None,) * (4 - mask.ndim)]
