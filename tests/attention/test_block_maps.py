"""Block maps: all forms of a map agree, at any length, and shapes that do not fit are refused."""

from __future__ import annotations

import pytest
import torch

from videogen import InputError
from videogen.attention import BlockMap, Forced, TokenGrid, inverse, permutation

CASES = [
    pytest.param(64, 64, 1000, id="ragged last blocks"),
    pytest.param(64, 64, 1024, id="full blocks"),
    pytest.param(256, 64, 1000, id="query blocks larger"),
    pytest.param(32, 128, 1000, id="key blocks larger"),
    pytest.param(64, 64, 40, id="shorter than a block"),
    pytest.param(64, 32, (130, 700), id="queries and keys of different length"),
]


def random_map(
    query_block: int, key_block: int, length: int | tuple[int, int], density: float = 0.3, heads: int = 3
) -> BlockMap:
    generator = torch.Generator().manual_seed(1)
    rows, cols = length if isinstance(length, tuple) else (length, length)
    mask = torch.rand(2, heads, -(-rows // query_block), -(-cols // key_block), generator=generator) < density
    mask[..., 0] |= ~mask.any(-1)
    return BlockMap.from_dense(mask, query_block=query_block, key_block=key_block, length=length)


@pytest.mark.parametrize(("query_block", "key_block", "length"), CASES)
def test_all_forms_of_a_map_agree(query_block: int, key_block: int, length: int | tuple[int, int]) -> None:
    found = random_map(query_block, key_block, length)
    mask = found.to_dense()
    again = BlockMap.from_dense(mask, query_block=query_block, key_block=key_block, length=length)
    bits = BlockMap.unpack(found.pack(), query_block=query_block, key_block=key_block, length=length)
    assert torch.equal(again.to_dense(), mask) and torch.equal(bits.to_dense(), mask)
    assert found.density == pytest.approx(float(found.expand().float().mean()), abs=1e-6)
    rows = torch.randint(mask.shape[2], (2, 3, 5))
    assert torch.equal(found.attended(rows), mask.gather(2, rows.unsqueeze(-1).expand(-1, -1, -1, mask.shape[3])))
    for columns, count in zip(found.columns.flatten(0, 2), found.counts.flatten(), strict=True):
        assert (columns[: int(count)].diff() > 0).all()


def test_lists_are_as_small_as_they_can_be() -> None:
    small, large = random_map(64, 64, 4096), random_map(64, 1, 40_000, heads=1)
    assert small.columns.dtype == torch.int16 and large.columns.dtype == torch.int32
    assert small.columns.shape[-1] == int(small.counts.max())


def test_forced_ranges_reach_every_block_they_touch() -> None:
    mask = Forced(rows=[(60, 70)], columns=[(0, 1), (990, 1000)]).apply(
        torch.zeros(1, 1, 16, 16, dtype=torch.bool), 64, 64, (1000, 1000)
    )
    assert mask[0, 0, :2].all() and mask[0, 0, :, 0].all() and mask[0, 0, :, 15].all()
    assert int(mask.sum()) == 2 * 16 + 2 * 14


@pytest.mark.parametrize(
    ("mask", "match"),
    [
        (torch.ones(1, 1, 3, 3), "bool"),
        (torch.ones(1, 1, 3, 4, dtype=torch.bool), r"\[batch, heads, 3, 3\]"),
        (torch.zeros(1, 1, 3, 3, dtype=torch.bool), "have no key block"),
    ],
    ids=["not bool", "wrong shape", "empty rows"],
)
def test_invalid_masks_are_refused(mask: torch.Tensor, match: str) -> None:
    with pytest.raises(InputError, match=match):
        BlockMap.from_dense(mask, query_block=64, key_block=64, length=190)


GRIDS = [TokenGrid(5, 6, 7), TokenGrid(8, 4, 12, before=3, after=10), TokenGrid(1, 9, 9), TokenGrid(3, 1, 1, before=2)]


@pytest.mark.parametrize("grid", GRIDS)
def test_tile_order_is_a_permutation_with_an_exact_inverse(grid: TokenGrid) -> None:
    order = permutation(grid)
    assert torch.equal(order.sort().values, torch.arange(grid.length))
    assert torch.equal(order[inverse(order)], torch.arange(grid.length))
    assert torch.equal(order[: grid.before], torch.arange(grid.before))
    assert torch.equal(order[grid.length - grid.after :], torch.arange(grid.length - grid.after, grid.length))


def test_a_tile_is_a_cube() -> None:
    order = permutation(TokenGrid(8, 8, 8))[:64]
    t, y, x = order // 64, order // 8 % 8, order % 8
    assert t.max() == y.max() == x.max() == 3
