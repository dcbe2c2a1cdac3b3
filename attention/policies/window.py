"""Window policy: a fixed band of blocks around each query block, a baseline that does not depend on queries or keys."""

from __future__ import annotations

import torch

from videogen.attention.blockmap import visible_blocks
from videogen.attention.select import top_rows

from .base import AttentionCall, FixedMapPolicy


class WindowPolicy(FixedMapPolicy):
    """The nearest blocks of each query block, as many as the configured sparsity leaves."""

    def build_mask(self, call: AttentionCall) -> torch.Tensor:
        block, key_block, device = self.query_block(call), self.config.key_block, call.query.device
        shape = self.mask_shape(call)
        centre = (torch.arange(shape[2], device=device) + 0.5)[:, None] * block
        keys = (torch.arange(shape[3], device=device) + 0.5) * key_block
        nearness = (-(keys - centre).abs()).expand(shape)
        if call.key_mask is not None:  # blocks of padding alone come last
            nearness = nearness.masked_fill(~visible_blocks(call.key_mask, key_block)[:, None, None], -torch.inf)
        nothing = torch.zeros(shape, dtype=torch.bool, device=device)
        # forced blocks count towards the sparsity
        forced = call.forced.apply(nothing, block, key_block, (call.query.shape[2], call.key.shape[2]))
        return top_rows(nearness, self.target, forced)
