"""The search: from queries and keys to a `BlockMap` that holds a stated recall, or a stated sparsity.

Follows AdaSpa (arXiv 2502.21079, section 4: blockwise masses from a cached log-sum-exp) where every row is used; with
sampled rows it costs a few per cent of one dense call, and a second sample says what the lists really keep.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from videogen.core.errors import InputError

from .blockmap import BlockMap, Forced, block_count, block_sizes
from .config import check_block
from .mass import block_mass, row_mass, sample_rows
from .select import Audit, cover, head_sparsity, lower_bound, round_up, top_rows


def search(
    query: torch.Tensor,
    key: torch.Tensor,
    *,
    recall: float | None = None,
    sparsity: float | None = None,
    lse: torch.Tensor | None = None,
    rows: int | None = None,
    query_block: int | None = None,
    key_block: int = 64,
    forced: Forced | None = None,
    head_adaptive: bool = False,
    scale: float | None = None,
    key_mask: torch.Tensor | None = None,
    audit_rows: int = 64,
    round_to: int = 1,
    seed: int = 0,
) -> BlockMap:
    """Which key blocks each query block shall attend to.

    query [b, h, l, d], key [b, g, k, d] with h a multiple of g. Give either `recall` in (0, 1]: the cheapest lists that
    keep that share of the softmax mass in every head, as a sample of rows proves at 99 % confidence; or `sparsity` in
    [0, 1): the heaviest blocks of each row (`head_adaptive`: AdaSpa's distribution over heads).
    rows: query rows a block that are looked at; None for all of them, which is exact. lse: of an earlier step [b, h, l].
    query_block: tokens; None for 256 on a CPU and 128 elsewhere. round_to: list lengths are multiples of this.
    The map's `recall` [b, h] is measured: over all rows, or the sample's mean. NaN or Inf in the inputs gives full rows.
    Raises InputError.
    """
    query_block = default_query_block(query.device) if query_block is None else query_block
    _check(query, key, recall, sparsity, rows, query_block, key_block)
    length = (query.shape[2], key.shape[2])
    if recall == 1 or sparsity == 0:
        return BlockMap.full(*query.shape[:2], query_block=query_block, key_block=key_block, length=length, device=query.device)
    generator = torch.Generator().manual_seed(seed)
    mass, audit = _measure(query, key, rows, query_block, key_block, lse, scale, key_mask, audit_rows, generator)
    broken = ~mass.isfinite().all(-1, keepdim=True)
    mass = mass.nan_to_num(0.0)
    must = (forced or Forced()).apply(broken.expand_as(mass), query_block, key_block)
    if recall is not None:
        kept = cover(mass, audit, recall, must)
    else:
        assert sparsity is not None
        shares = head_sparsity(mass, sparsity, must) if head_adaptive else sparsity
        kept = top_rows(mass, shares, must)
    if round_to > 1:
        kept = round_up(kept, mass, round_to)
    found = BlockMap.from_dense(kept, query_block=query_block, key_block=key_block, length=length)
    return replace(found, recall=audit.recall(kept).mean(-1) if rows else _exact_recall(mass, kept, length[0], query_block))


def audit_map(
    query: torch.Tensor,
    key: torch.Tensor,
    block_map: BlockMap,
    *,
    rows: int = 64,
    scale: float | None = None,
    key_mask: torch.Tensor | None = None,
    seed: int = 0,
    confidence: float = 2.33,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(recall, its lower bound), each fp32 [b, h]: what a map keeps of these queries' and keys' mass, on random rows.

    recall of a row is exp(lse_sparse - lse_full); here both come from one pass over the sampled rows. Rows are spread
    over all query blocks.
    """
    count = max(1, rows // block_map.shape[0])
    tokens = sample_rows(query.shape[2], block_map.query_block, count, torch.Generator().manual_seed(seed)).flatten().to(query.device)
    mass, _ = row_mass(query, key, tokens, key_block=block_map.key_block, scale=scale, key_mask=key_mask)
    blocks = (tokens // block_map.query_block).expand(*query.shape[:2], -1)
    kept = torch.where(block_map.keeps(blocks), mass, torch.zeros_like(mass)).sum(-1)
    return lower_bound(kept, confidence)


def default_query_block(device: torch.device) -> int:
    """Query rows a block: what each device's kernel is fastest with."""
    return 256 if device.type == "cpu" else 128


def _measure(query, key, rows, query_block, key_block, lse, scale, key_mask, audit_rows, generator):  # type: ignore[no-untyped-def]
    """(mass of each tile, rows summing to 1, [b, h, p, q]; the audit by other rows, or by all)."""
    length = query.shape[2]
    p = block_count(length, query_block)
    if rows is None:
        total, _ = block_mass(query, key, query_block=query_block, key_block=key_block, lse=lse, scale=scale, key_mask=key_mask)
        mass = total / block_sizes(length, query_block, query.device)[:, None]
        return mass, Audit(mass, torch.arange(p, device=query.device), confidence=0.0)
    control = max(1, -(-audit_rows // p))
    tokens = sample_rows(length, query_block, rows + control, generator).to(query.device)
    sampled, _ = row_mass(query, key, tokens.flatten(), key_block=key_block, lse=lse, scale=scale, key_mask=key_mask)
    sampled = sampled.unflatten(2, tuple(tokens.shape))
    ranking, control_mass = sampled[:, :, :, : tokens.shape[1] - control].mean(3), sampled[:, :, :, tokens.shape[1] - control :]
    blocks = torch.arange(p, device=query.device).repeat_interleave(control_mass.shape[3])
    return ranking, Audit(control_mass.flatten(2, 3).nan_to_num(0.0), blocks)


def _exact_recall(mass: torch.Tensor, kept: torch.Tensor, length: int, query_block: int) -> torch.Tensor:
    sizes = block_sizes(length, query_block, mass.device).float()
    return (mass * kept).sum(-1) @ sizes / length


def _check(query, key, recall, sparsity, rows, query_block, key_block) -> None:  # type: ignore[no-untyped-def]
    if (recall is None) == (sparsity is None):
        raise InputError(f"recall={recall}, sparsity={sparsity}: give one of the two")
    if recall is not None and not 0 < recall <= 1:
        raise InputError(f"recall={recall} must be above 0 and at most 1, such as 0.95")
    if sparsity is not None and not 0 <= sparsity < 1:
        raise InputError(f"sparsity={sparsity} must be from 0 to below 1, such as 0.8")
    if rows is not None and not 1 <= rows <= query_block:
        raise InputError(f"rows={rows} must be from 1 to the {query_block} of a query block, or None for all")
    check_block("query_block", query_block)
    check_block("key_block", key_block)
    if query.ndim != 4 or key.ndim != 4 or query.shape[0] != key.shape[0] or query.shape[3] != key.shape[3]:
        shapes = f"query {list(query.shape)} and key {list(key.shape)}"
        raise InputError(f"{shapes} must be [batch, heads, length, head_dim] of one batch and dim")
    if query.shape[1] % key.shape[1]:
        raise InputError(f"{query.shape[1]} query heads are no multiple of {key.shape[1]} key heads")
