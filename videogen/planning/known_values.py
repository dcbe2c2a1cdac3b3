"""Known values: what is computed from the small tensors of a call that have values, next to a pass without.

Models read masks, lengths and flags of their inputs, and decide by them how many tokens there are. These are small, and
are computed on the side; what depends on weights has no value.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakIdKeyDictionary

_MOST_ELEMENTS = 1 << 20
_NO_VALUES = ("empty", "new_empty", "rand", "normal", "bernoulli")


class KnownValues:
    """Tensor without values -> its values, where they are known."""

    def __init__(self) -> None:
        self._of: Any = WeakIdKeyDictionary()

    def set(self, tensor: torch.Tensor, values: torch.Tensor) -> None:
        """State a tensor's values, of which a copy is made."""
        if values.numel() <= _MOST_ELEMENTS:
            with _disable_current_modes():
                self._of[tensor] = values.clone()

    def count_true(self, mask: torch.Tensor) -> int | None:
        """How many places of a mask are true; None where its values are not known."""
        values = self._of.get(mask)
        if values is None:
            return None
        with _disable_current_modes():
            return int(values.bool().sum())

    def compute(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What an operator returns for known values; None where one of its arguments has none."""
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if any(
            tensor not in self._of for tensor in tensors if isinstance(tensor, FakeTensor)
        ) or operator.__name__.startswith(_NO_VALUES):
            return None
        with _disable_current_modes(), torch.no_grad():
            given = tree_map_only(torch.Tensor, lambda tensor: self._of.get(tensor, tensor), (args, kwargs))
            return operator(*given[0], **given[1])

    def follow(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Note the values of an operator's result, where they can be computed and are few."""
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        if not made or sum(tensor.numel() for tensor in made) > _MOST_ELEMENTS:
            return
        values = [leaf for leaf in tree_leaves(self.compute(operator, args, kwargs)) if isinstance(leaf, torch.Tensor)]
        for tensor, value in zip(made, values, strict=False):
            self._of[tensor] = value
