"""Cache of LoRA weights: each layer's matrices, read once per file and model, so that a swap reads nothing.

The least recently used file is evicted once all together are larger than the limit.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping

import torch

#: component -> layer -> its matrices and the scale of their product
Weights = Mapping[str, Mapping[str, "LayerWeights"]]
_LIMIT_BYTES = 2 << 30


class LayerWeights:
    """Matrices of one layer: down [rank, n, ...], up [m, rank, ...], bias [m] or None; alpha: the product is scaled by
    alpha / rank."""

    __slots__ = ("alpha", "bias", "down", "up")

    def __init__(self, down: torch.Tensor, up: torch.Tensor, alpha: float, bias: torch.Tensor | None) -> None:
        self.down, self.up, self.alpha, self.bias = down, up, alpha, bias

    @property
    def rank(self) -> int:
        return int(self.down.shape[0])

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return sum(one.numel() * one.element_size() for one in (self.down, self.up, self.bias) if one is not None)


class WeightCache:
    """Weights by key, the most recently used last. Safe for several threads."""

    def __init__(self, limit_bytes: int = _LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._stored: OrderedDict[Hashable, tuple[int, Weights]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, read: Callable[[], Weights]) -> Weights:
        """The weights of a key, read where they are not stored."""
        with self._lock:
            if key in self._stored:
                self._stored.move_to_end(key)
                return self._stored[key][1]
        weights = read()
        size = sum(layer.bytes for layers in weights.values() for layer in layers.values())
        with self._lock:
            self._stored[key] = size, weights
            while len(self._stored) > 1 and sum(size for size, _ in self._stored.values()) > self._limit_bytes:
                self._stored.popitem(last=False)
        return weights

    def __len__(self) -> int:
        return len(self._stored)
