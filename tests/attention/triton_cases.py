"""Run by `test_kernels` as a separate program under TRITON_INTERPRET=1: both Triton kernels against fp64.

Arguments: the numbers of the rows to check, of `test_kernels.ROWS`.
"""

from __future__ import annotations

import sys

import torch

from tests.attention.test_kernels import ROWS, expected, inputs, map_of
from videogen.attention import row_mass, sparse_attention
from videogen.attention.kernels.triton_blocks import triton_row_mass


def main(numbers: list[int]) -> None:
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float16, 4e-3)):
        for row in (ROWS[number] for number in numbers):
            q, k, v, mask = inputs(row, dtype)
            block_map = map_of(row)
            out, lse = sparse_attention(q, k, v, block_map, key_mask=mask, return_lse=True, backend="triton")
            reference, reference_lse = expected(row, q, k, v, mask, block_map)
            assert (out - reference).abs().max() < tolerance, row.name
            assert (lse - reference_lse).abs().max() < tolerance, row.name
            rows = torch.arange(0, q.shape[2], 7)
            plain, plain_lse = row_mass(q, k, rows, key_block=row.key_block, key_mask=mask)
            stale = torch.zeros(*q.shape[:3]).index_copy_(2, rows, plain_lse + 0.4)
            for cached in (None, stale):
                mass, found = triton_row_mass(q, k, rows, key_block=row.key_block, key_mask=mask, lse=cached)
                assert (mass - plain).abs().max() < 1e-4 and (found - plain_lse).abs().max() < 1e-3, row.name
            sys.stdout.write(f"ok {dtype} {row.name}\n")


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]])
