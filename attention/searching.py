"""Search of a block map: from queries and keys to a `BlockMap` of a target recall, or of a target sparsity.

Follows AdaSpa (arXiv 2502.21079, section 4: blockwise masses from a cached log-sum-exp) where every row is used; with
sampled rows it costs a few per cent of one dense call, and a second sample measures what the lists retain.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from videogen.core.errors import InputError

from .blockmap import BlockMap, Forced, block_count, block_sizes, check_key_mask
from .confidence import lower_bound, rows_to_show
from .config import check_block
from .mass import block_mass, full_precision, row_mass, sample_rows
from .select import Audit, cover, head_sparsity, top_rows

_DEFAULT_ROWS = 128


@full_precision
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
    audit_rows: int | None = None,
    seed: int = 0,
    error: float = 0.01,
) -> BlockMap:
    """The key blocks that each query block is to attend to.

    query [b, h, l, d], key [b, g, k, d] with h a multiple of g. Give either `recall` in (0, 1]: the cheapest lists that
    retain this fraction of the softmax mass in every head, as random rows show with a probability of `error` of being
    wrong in any of them; or `sparsity` in [0, 1): the heaviest blocks of each row (`head_adaptive`: AdaSpa's sparsity
    per head). rows: query rows per block by which blocks are ranked; None for all of them, which is exact. audit_rows:
    random rows per head by which lists are checked; None for as many as showing the recall takes. lse: of an earlier
    step [b, h, l]. query_block: tokens; None for 256 on a CPU and 128 elsewhere. The map's `recall` [b, h] is measured:
    over all rows, or the sample's mean. NaN or Inf in the inputs gives full rows. Raises InputError.
    """
    query_block = default_query_block(query.device) if query_block is None else query_block
    _check(query, key, recall, sparsity, rows, query_block, key_block)
    _check_extras(query, key, lse, key_mask)
    length = (query.shape[2], key.shape[2])
    if recall == 1 or sparsity == 0:
        return BlockMap.full(
            *query.shape[:2], query_block=query_block, key_block=key_block, length=length, device=query.device
        )
    generator = torch.Generator().manual_seed(seed)
    if audit_rows is None:
        audit_rows = _DEFAULT_ROWS if recall is None else rows_to_show(recall, error / query.shape[:2].numel())
    mass, audit = _measure(query, key, rows, query_block, key_block, lse, scale, key_mask, audit_rows, error, generator)
    broken = ~mass.isfinite().all(-1, keepdim=True)
    mass = mass.nan_to_num(0.0)
    forced = forced or Forced()
    must = forced.apply(broken.expand_as(mass), query_block, key_block, length)
    if recall is not None:
        mask = cover(mass, audit, recall, forced.add_extra(must, key_block))
    else:
        assert sparsity is not None
        per_head = head_sparsity(mass, sparsity, must) if head_adaptive else sparsity
        mask = forced.add_extra(top_rows(mass, per_head, must), key_block)
    found = BlockMap.from_dense(mask, query_block=query_block, key_block=key_block, length=length)
    return replace(found, recall=audit.recall(mask))


@full_precision
def audit_map(
    query: torch.Tensor,
    key: torch.Tensor,
    block_map: BlockMap,
    *,
    rows: int = _DEFAULT_ROWS,
    scale: float | None = None,
    key_mask: torch.Tensor | None = None,
    seed: int = 0,
    error: float = 0.01,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(recall, its lower bound), each fp32 [b, h]: the fraction of the softmax mass that a map retains, on random rows.

    recall of a row is exp(lse_sparse - lse_full); here both come from one pass over the sampled rows. The bounds of all
    heads hold at once, except with a probability of `error`. rows: per head; `rows_to_show` gives the number that a
    recall takes. Where that is half of the tokens or more, all are used, and the bound is the recall itself.
    """
    retained, all_rows = retained_rows(query, key, block_map, rows=rows, scale=scale, key_mask=key_mask, seed=seed)
    return retained.mean(-1), recall_bound(retained, all_rows, error)


def recall_bound(retained: torch.Tensor, all_rows: bool, error: float) -> torch.Tensor:
    """The lower bound fp32 [b, h] of `audit_map`, from what it measured on random rows, or on all of them."""
    return lower_bound(retained, 0.0 if all_rows else error / retained.shape[:2].numel())


@full_precision
def retained_rows(
    query: torch.Tensor,
    key: torch.Tensor,
    block_map: BlockMap,
    *,
    rows: int = _DEFAULT_ROWS,
    scale: float | None = None,
    key_mask: torch.Tensor | None = None,
    seed: int = 0,
) -> tuple[torch.Tensor, bool]:
    """(the fraction of its softmax mass that a map retains in each audited row, fp32 [b, h, n]; whether these are all
    rows). Arguments as for `audit_map`."""
    tokens, all_rows = _audit_tokens(query.shape[2], rows, torch.Generator().manual_seed(seed), query.device)
    mass, _ = row_mass(query, key, tokens, key_block=block_map.key_block, scale=scale, key_mask=key_mask)
    blocks = (tokens // block_map.query_block).expand(*query.shape[:2], -1)
    return torch.where(block_map.attended(blocks), mass, torch.zeros_like(mass)).sum(-1).clamp(max=1), all_rows


def _audit_tokens(
    length: int, rows: int, generator: torch.Generator, device: torch.device
) -> tuple[torch.Tensor, bool]:
    """(tokens drawn independently, False), or (all tokens, True) where so many are needed."""
    if 2 * rows >= length:
        return torch.arange(length, device=device), True
    return torch.randint(length, (rows,), generator=generator).to(device), False


def default_query_block(device: torch.device) -> int:
    """Query rows per block: the fastest size for each device's kernel."""
    return 256 if device.type == "cpu" else 128


def _measure(  # type: ignore[no-untyped-def]
    query, key, rows, query_block, key_block, lse, scale, key_mask, audit_rows, error, generator
):
    """(mass of each tile, rows summing to 1, [b, h, p, q]; the audit by random rows, or by all)."""
    length = query.shape[2]
    p = block_count(length, query_block)
    sizes = block_sizes(length, query_block, query.device)
    if rows is None:
        total, _ = block_mass(
            query, key, query_block=query_block, key_block=key_block, lse=lse, scale=scale, key_mask=key_mask
        )
        mass = total / sizes[:, None]
        return mass, Audit(
            mass.nan_to_num(0.0), torch.arange(p, device=query.device), sizes.float() / length, error=0.0
        )
    ranking = sample_rows(length, query_block, rows, generator).to(query.device)
    tokens, all_rows = _audit_tokens(length, audit_rows, generator, query.device)
    both = torch.cat([ranking.flatten(), tokens])
    sampled, _ = row_mass(query, key, both, key_block=key_block, lse=lse, scale=scale, key_mask=key_mask)
    mass = sampled[:, :, : ranking.numel()].unflatten(2, tuple(ranking.shape)).mean(3)
    weights = torch.full((len(tokens),), 1 / len(tokens), device=query.device)
    return mass, Audit(
        sampled[:, :, ranking.numel() :].nan_to_num(0.0), tokens // query_block, weights, 0.0 if all_rows else error
    )


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
        raise InputError(f"{query.shape[1]} query heads are not a multiple of {key.shape[1]} key heads")
    if 0 in (*query.shape, *key.shape):
        raise InputError(f"query {list(query.shape)} and key {list(key.shape)} must not be empty")


def _check_extras(
    query: torch.Tensor, key: torch.Tensor, lse: torch.Tensor | None, key_mask: torch.Tensor | None
) -> None:
    if lse is not None and lse.shape != query.shape[:3]:
        raise InputError(f"lse is {list(lse.shape)}; for this query it must be {list(query.shape[:3])}")
    check_key_mask(key_mask, key)
