"""Block selection from block masses: row-wise top-k at a target sparsity, or the cheapest lists of a target recall.

Shapes: b batch, h heads, p query blocks, q key blocks, n audit rows. `mass` is fp32 [b, h, p, q] in any scale per row;
`forced` is bool [b, h, p, q] or broadcasts to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from videogen.core.errors import InputError

from .confidence import exceeds


@dataclass(frozen=True)
class Audit:
    """Rows by which lists are checked. They are drawn at random, independently of the rows of the ranking, so that the
    mass they retain is an unbiased estimate for all rows.

    mass: fp32 [b, h, n, q], each row summing to 1. blocks: int64 [n], the query block of each row. weights: fp32 [n],
    summing to 1, the fraction of the tokens that a row represents. error: how often the bound of any head may be
    wrong; 0 where these are all rows.
    """

    mass: torch.Tensor
    blocks: torch.Tensor
    weights: torch.Tensor
    error: float

    def recall(self, mask: torch.Tensor) -> torch.Tensor:
        """Mass that a mask of blocks [b, h, p, q] retains, mean over the rows: [b, h]."""
        return (self.mass * mask[:, :, self.blocks]).sum(-1) @ self.weights

    def reaches(self, retained: torch.Tensor, target: float) -> torch.Tensor:
        """Whether rows that retain this mass [b, h, n] show a recall of at least `target`: bool [b, h]."""
        if self.error == 0:
            return retained @ self.weights >= target - 1e-6
        return exceeds(retained.clamp(0, 1), target, self.error / retained.shape[:2].numel())


def top_rows(mass: torch.Tensor, sparsity: float | torch.Tensor, forced: torch.Tensor) -> torch.Tensor:
    """The heaviest (1 - sparsity) of the blocks of each row, forced ones first (AdaSpa, row-wise top-k): bool [b, h, p,
    q].

    sparsity: one number, or [b, h] per head.
    """
    q = mass.shape[-1]
    dropped = torch.as_tensor(sparsity, device=mass.device, dtype=torch.float64).expand(mass.shape[:2])
    count = ((1 - dropped) * q).round().clamp(1, q)
    rank = _ranks(mass.masked_fill(forced, torch.inf))
    return (rank < count[..., None, None]) | forced


def head_sparsity(mass: torch.Tensor, sparsity: float, forced: torch.Tensor, good: float = 0.8) -> torch.Tensor:
    """AdaSpa's head-adaptive sparsity: [b, h].

    Of n heads whose recall at `sparsity` is above `good`, the n best get (1 + s) / 2, the n worst (3s - 1) / 2, the
    rest s, so the mean stays. The paper leaves n > heads / 2 open: n is cut to half of them. Needs s >= 1/3.
    """
    if sparsity < 1 / 3:
        raise InputError(
            f"sparsity={sparsity} is below 1/3, where head-adaptive sparsity would be negative; switch it off"
        )
    mask = top_rows(mass, sparsity, forced)
    recall = (mass * mask).sum((-1, -2)) / mass.sum((-1, -2))
    heads = mass.shape[1]
    count = (recall > good).sum(1, keepdim=True).clamp(max=heads // 2)
    place = recall.argsort(dim=1, descending=True, stable=True).argsort(1)
    result = torch.full_like(recall, sparsity)
    result[place < count] = (1 + sparsity) / 2
    result[place >= heads - count] = (3 * sparsity - 1) / 2
    return result


def cover(mass: torch.Tensor, audit: Audit, target: float, forced: torch.Tensor) -> torch.Tensor:
    """Lists whose recall the audit shows to be at least `target` in every head: bool [b, h, p, q].

    A head's blocks are taken from the heaviest down, over all its rows together: no other choice of as many blocks
    retains more. Their number is one of 128 cuts. mass: [b, h, p, q] with rows that sum to 1. Where no cut reaches the
    target, nothing is dropped.
    """
    b, h, p, q = mass.shape
    rank = _ranks(mass.masked_fill(forced, torch.inf).flatten(2)).view(mass.shape)
    cuts = (torch.linspace(0, 1, 129, device=mass.device, dtype=torch.float64)[1:] ** 2 * p * q).ceil().long()
    place = torch.bucketize(rank, cuts, right=True)[:, :, audit.blocks]  # the first cut that includes a block
    gained = torch.zeros(b, h, place.shape[2], len(cuts) + 1, device=mass.device)
    gained.scatter_add_(-1, place, audit.mass)
    gained = gained.cumsum_(-1)
    low, high = (torch.full((b, h), end, device=mass.device) for end in (0, len(cuts) - 1))
    for _ in range(len(cuts).bit_length()):  # a longer list includes every shorter one
        middle = (low + high) // 2
        retained = gained.gather(-1, middle[..., None, None].expand(b, h, gained.shape[2], 1)).squeeze(-1)
        reached = audit.reaches(retained, target)
        low = torch.where(reached, low, (middle + 1).clamp(max=len(cuts) - 1))
        high = torch.where(reached, middle, high)
    first = torch.maximum(low, high)
    mask = (rank < cuts[first][..., None, None]) | forced
    return mask.scatter_(-1, mass.argmax(-1, keepdim=True), True)  # a row must have a block: its heaviest


def _ranks(mass: torch.Tensor) -> torch.Tensor:
    """The rank of each value in its row, 0 the largest; earlier first among equals."""
    order = mass.argsort(dim=-1, descending=True, stable=True)
    ranks = torch.arange(mass.shape[-1], device=mass.device).expand_as(order)
    return torch.empty_like(order).scatter_(-1, order, ranks)
