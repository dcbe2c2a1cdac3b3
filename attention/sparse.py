"""Block-sparse attention: `sparse_attention` runs attention within a `BlockMap`, by the first kernel that can."""

from __future__ import annotations

from typing import Literal, overload

import torch

from videogen.core.errors import InputError, UnsupportedError

from .blockmap import BlockMap, check_key_mask, visible_blocks
from .kernels.table import KERNELS, Case, Kernel, choose
from .kernels.validation import Call
from .kernels.watch import Compute, current_watch


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
    """The result of `F.scaled_dot_product_attention` under the map's mask of tokens.

    query [b, h, l, d], key and value [b, g, k, d] with h a multiple of g (GQA). key_mask: bool [b, k], False for
    padding. With return_lse also the log-sum-exp of each row's computed scores, fp32 [b, h, l], natural logarithm.
    Raises InputError where shapes disagree with the map, UnsupportedError where a named backend cannot.
    """
    _check(query, key, value, block_map, key_mask)
    case = Case.from_tensors(query, value, block_map, key_mask)
    kernel = choose(case, backend)

    def computed_by(kernel: Kernel) -> Compute:
        return lambda: kernel.load()(query, key, value, block_map, scale=scale, key_mask=key_mask)

    watch = current_watch()
    if watch is None:
        out, lse = kernel.load()(query, key, value, block_map, scale=scale, key_mask=key_mask)
    else:
        mask = None if key_mask is None else key_mask[:, None, None, :]
        call = Call(query, key, value, mask, scale=scale, block_map=block_map)
        others = [(f"sparse-{other.name}", computed_by(other)) for other in KERNELS if other.refuses(case) is None]
        out, lse = watch.run(f"sparse-{kernel.name}", call, computed_by(kernel), others)
    if key_mask is not None:
        out, lse = _empty_blind_rows(out, lse, block_map, key_mask)
    return (out, lse) if return_lse else out


def _empty_blind_rows(
    out: torch.Tensor, lse: torch.Tensor, block_map: BlockMap, key_mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows that see padding alone give 0 and -inf, as SDPA does; kernels differ there."""
    visible = visible_blocks(key_mask, block_map.key_block)[:, None, None, :].expand(*block_map.counts.shape, -1)
    attended = visible.gather(-1, block_map.columns.long())
    listed = torch.arange(attended.shape[-1], device=attended.device) < block_map.counts.unsqueeze(-1)
    blind = ~(attended & listed).any(-1)
    if not bool(blind.any()):
        return out, lse
    rows = blind.repeat_interleave(block_map.query_block, -1)[..., : block_map.query_length]
    return out.masked_fill(rows.unsqueeze(-1), 0.0), lse.masked_fill(rows, -torch.inf)


def _check(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, block_map: BlockMap, key_mask: torch.Tensor | None
) -> None:
    b, h = block_map.counts.shape[:2]
    if query.ndim != 4 or tuple(query.shape[:3]) != (b, h, block_map.query_length):
        raise InputError(f"query is {list(query.shape)}; the map is for [{b}, {h}, {block_map.query_length}, head_dim]")
    if key.shape[:3] != value.shape[:3] or key.shape[0] != b or key.shape[2] != block_map.key_length:
        raise InputError(
            f"key is {list(key.shape)} and value {list(value.shape)}; the map is for "
            f"[{b}, heads, {block_map.key_length}, head_dim]"
        )
    if not key.shape[1] or h % key.shape[1]:
        raise InputError(f"{h} query heads are not a multiple of {key.shape[1]} key heads")
    if not query.dtype == key.dtype == value.dtype or not query.is_floating_point():
        raise InputError(
            f"query, key and value are {query.dtype}, {key.dtype} and {value.dtype}; they must be of one "
            "floating-point dtype"
        )
    if query.shape[-1] != key.shape[-1] or 0 in (*query.shape, *key.shape, *value.shape):
        shapes = f"query {list(query.shape)}, key {list(key.shape)}, value {list(value.shape)}"
        raise InputError(f"{shapes}: query and key need one head_dim, and none may be empty")
    if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad):
        raise UnsupportedError("sparse attention has no backward pass; call it within torch.no_grad()")
    check_key_mask(key_mask, key)
