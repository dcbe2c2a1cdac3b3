"""`sparse_attention`: attention within a `BlockMap`, by whichever kernel can."""

from __future__ import annotations

from typing import Literal, overload

import torch

from videogen.core.errors import InputError

from .blockmap import BlockMap
from .kernels.table import Case, choose


@overload
def sparse_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, block_map: BlockMap, *, scale: float | None = None,
    key_mask: torch.Tensor | None = None, return_lse: Literal[False] = False, backend: str = "auto",
) -> torch.Tensor: ...  # fmt: skip


@overload
def sparse_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, block_map: BlockMap, *, scale: float | None = None,
    key_mask: torch.Tensor | None = None, return_lse: Literal[True], backend: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]: ...  # fmt: skip


def sparse_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    block_map: BlockMap,
    *,
    scale: float | None = None,
    key_mask: torch.Tensor | None = None,
    return_lse: bool = False,
    backend: str = "auto",
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """What `F.scaled_dot_product_attention` gives under the map's mask of tokens.

    query [b, h, l, d], key and value [b, g, k, d] with h a multiple of g (GQA). key_mask: bool [b, k], False for
    padding. With return_lse also the log-sum-exp of each row's kept scores, fp32 [b, h, l], natural logarithm.
    Raises InputError where shapes disagree with the map, UnsupportedError where a named backend cannot.
    """
    _check(query, key, value, block_map, key_mask)
    kernel = choose(Case.of(query, value, block_map, key_mask), backend)
    out, lse = kernel.load()(query, key, value, block_map, scale=scale, key_mask=key_mask)
    return (out, lse) if return_lse else out


def _check(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, block_map: BlockMap, key_mask: torch.Tensor | None
) -> None:
    b, h = block_map.counts.shape[:2]
    if query.ndim != 4 or tuple(query.shape[:3]) != (b, h, block_map.query_length):
        raise InputError(f"query is {list(query.shape)}; the map is for [{b}, {h}, {block_map.query_length}, head_dim]")
    if key.shape[:3] != value.shape[:3] or key.shape[0] != b or key.shape[2] != block_map.key_length:
        raise InputError(
            f"key is {list(key.shape)} and value {list(value.shape)}; the map is for [{b}, heads, {block_map.key_length}, head_dim]"
        )
    if h % key.shape[1]:
        raise InputError(f"{h} query heads are no multiple of {key.shape[1]} key heads")
    if key_mask is not None and (key_mask.dtype != torch.bool or key_mask.shape != (b, block_map.key_length)):
        raise InputError(f"key_mask is {key_mask.dtype} {list(key_mask.shape)}; it must be bool [{b}, {block_map.key_length}]")
