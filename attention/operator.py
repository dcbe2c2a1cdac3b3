"""Sparse attention as a torch operator, `videogen::attention`, for models whose blocks are compiled.

A hook with state breaks the graph that torch.compile makes of a block. Here the attention call of an attached layer is
one opaque operator with a fake kernel, so that the block stays one graph, and one graph serves all blocks: the layer
that answers is given as a tensor, not as a constant. Which step, branch and state apply is looked up when it runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import MethodType
from typing import Any, Protocol
from weakref import WeakValueDictionary

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from .kernels.watch import unwatched

_SDPA = torch.nn.functional.scaled_dot_product_attention
_LAYER = "_videogen_layer"  # attribute of a module: the number of its layer, int64 []


class AnsweringLayer(Protocol):
    """A layer that answers calls of attention."""

    def answer(self, video: int, text: int, arguments: dict[str, Any]) -> torch.Tensor:
        """The result [b, h, l, dv] of `scaled_dot_product_attention(**arguments)`, or what takes its place.

        video, text: tokens of the module's two inputs; 0 where there is none.
        """


_layers: WeakValueDictionary[int, Any] = WeakValueDictionary()
_numbers = itertools.count()


@torch.library.custom_op("videogen::attention", mutates_args=())
def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None,
    layer: torch.Tensor,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
    video: int,
    text: int,
) -> torch.Tensor:
    arguments = {
        "query": query, "key": key, "value": value, "attn_mask": attn_mask, "is_causal": is_causal, "scale": scale,
        "enable_gqa": enable_gqa,
    }  # fmt: skip
    out = _layers[int(layer)].answer(video, text, arguments)
    return out.clone(memory_format=torch.contiguous_format)  # never one of the inputs, and laid out as the fake one


@_attention.register_fake
def _(query, key, value, attn_mask, layer, is_causal, scale, enable_gqa, video, text):  # type: ignore[no-untyped-def]
    return query.new_empty(*query.shape[:3], value.shape[-1])


class _OperatorMode(TorchFunctionMode):
    """Gives calls of torch's attention to the operator. Only ever traced."""

    def __init__(self, layer: torch.Tensor, video: int, text: int) -> None:
        super().__init__()
        self.layer, self.video, self.text = layer, video, text

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is _SDPA:
            return _call_operator(self.layer, self.video, self.text, *args, **kwargs)
        if func is torch.Tensor.unflatten:  # torch.compile cannot trace these two methods' own code
            return torch.ops.aten.unflatten.int(*args, **kwargs)
        if func is torch.Tensor.split and isinstance(args[1], int):
            return torch.ops.aten.split.Tensor(*args, **kwargs)
        return func(*args, **kwargs)


def _call_operator(
    layer: torch.Tensor,
    video: int,
    text: int,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    return torch.ops.videogen.attention(  # type: ignore[no-any-return]
        query, key, value, attn_mask, layer, is_causal, scale, enable_gqa, video, text
    )


def use_operator(module: nn.Module, layer: AnsweringLayer) -> Callable[[], None] | None:
    """Let compiled code of a module call the operator for its attention; returns what undoes it.

    None, and nothing is done, where other code has replaced the module's forward.
    """
    if "forward" in vars(module):
        return None
    number = next(_numbers)
    _layers[number] = layer
    vars(module)[_LAYER] = torch.tensor(number)
    vars(module)["forward"] = MethodType(_forward, module)

    def undo() -> None:
        del vars(module)["forward"], vars(module)[_LAYER], _layers[number]

    return undo


def _forward(module: Any, *args: Any, **kwargs: Any) -> Any:
    """The forward of a module under `use_operator`, the same function for all, so that they share their graph."""
    if not torch.compiler.is_compiling():
        with unwatched():  # the operator's own calls are
            return type(module).forward(module, *args, **kwargs)
    hidden = kwargs.get("hidden_states", args[0] if args else None)
    text = kwargs.get("encoder_hidden_states", args[1] if len(args) > 1 else None)
    video_tokens = hidden.shape[1] if hidden is not None and hidden.ndim == 3 else 0
    text_tokens = text.shape[1] if text is not None and text.ndim == 3 else 0
    with _OperatorMode(getattr(module, _LAYER), video_tokens, text_tokens):
        return type(module).forward(module, *args, **kwargs)
