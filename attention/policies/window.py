"""Window policy: a fixed band of blocks around each query block, a baseline that looks at no query or key."""

from __future__ import annotations

import torch

from videogen.attention.blockmap import BlockMap, block_count, visible_blocks
from videogen.attention.select import top_rows

from .base import AttentionCall, FixedMapPolicy


class WindowPolicy(FixedMapPolicy):
    """The nearest blocks of each query block, as many as the configured sparsity leaves."""

    def build_map(self, call: AttentionCall) -> BlockMap:
        assert self.config.sparsity is not None
        block, key_block = self.query_block(call), self.config.key_block
        b, h, length, _ = call.query.shape
        key_length = call.key.shape[2]
        p, q = block_count(length, block), block_count(key_length, key_block)
        centre = (torch.arange(p, device=call.query.device) + 0.5)[:, None] * block
        keys = (torch.arange(q, device=call.query.device) + 0.5) * key_block
        nearness = (-(keys - centre).abs()).expand(b, h, p, q)
        if call.key_mask is not None:  # blocks of padding alone come last
            nearness = nearness.masked_fill(~visible_blocks(call.key_mask, key_block)[:, None, None], -torch.inf)
        nothing = torch.zeros(b, h, p, q, dtype=torch.bool, device=call.query.device)
        forced = call.forced.apply(nothing, block, key_block, (length, key_length))
        mask = call.forced.add_extra(top_rows(nearness, self.config.sparsity, forced), key_block)
        return BlockMap.from_dense(mask, query_block=block, key_block=key_block, length=(length, key_length))
