"""Counted pass: context in which a planned model's modules run without values and their operators are counted."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from .counter import LiveStorageCounter
from .fake_model import default_dtype, tensors_of
from .planned_model import PlannedModel
from .repeats import count_repeats_once


class Counted:
    """Context in which operators are counted on the model's fake tensors. modules: those that are called."""

    def __init__(self, model: PlannedModel, *modules: nn.Module) -> None:
        self._counter = LiveStorageCounter(with_calls=True)
        self._counter.ignore(tensor for module in modules for tensor in tensors_of(module))
        self._contexts: list[AbstractContextManager[Any]] = [
            torch.inference_mode(False), torch.no_grad(), model.mode, default_dtype(torch.float32), self._counter,
            count_repeats_once(self._counter, *modules),
        ]  # fmt: skip

    def __enter__(self) -> LiveStorageCounter:
        for context in self._contexts:
            context.__enter__()
        return self._counter

    def __exit__(self, *error: Any) -> None:
        for context in reversed(self._contexts):
            context.__exit__(*error)
