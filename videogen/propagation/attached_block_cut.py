"""Split points of a transformer of diffusers: `BlockCut` on its lists of blocks, whose forwards are replaced.

Blocks are found by the names that diffusers gives to its lists of blocks, and by the order in which they run.
"""

from __future__ import annotations

import torch
from torch import nn

from videogen.core.attachment import ForwardAttachment
from videogen.core.errors import UnsupportedError

from .block_cut import BlockCut
from .predictor_kinds import PredictorKind

_LISTS = (
    "blocks", "transformer_blocks", "single_transformer_blocks", "layers", "visual_transformer_blocks",
    "temporal_transformer_blocks",
)  # fmt: skip


def block_lists(model: nn.Module) -> list[nn.Module]:
    """The blocks of a transformer; empty if no list of blocks has a known name."""
    lists = [child for name, child in model.named_children() if name in _LISTS and isinstance(child, nn.ModuleList)]
    return [block for blocks in lists for block in blocks]


class AttachedBlockCut(BlockCut):
    """A block cut of one model. UnsupportedError if no blocks are found."""

    def __init__(self, model: nn.Module, front: int, tail: int, order: int, probe: bool) -> None:
        blocks, name = block_lists(model), type(model).__name__
        if not blocks:
            raise UnsupportedError(f"{name} has no list of blocks to cut; use boundary 'output'")
        super().__init__(len(blocks), front, tail, order, probe, name)
        self._blocks = [_TappedBlock(block, self) for block in blocks]

    def close(self) -> None:
        for block in self._blocks:
            block.detach()
        self._blocks.clear()


class _TappedBlock(ForwardAttachment):
    """One transformer block, whose calls go through the cut."""

    kind = "propagation"

    def __init__(self, module: nn.Module, cut: BlockCut) -> None:
        self._cut = cut
        super().__init__(module)

    def forward(self, *args: object, **kwargs: object) -> object:
        inputs = [x for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor)]
        output: object = self._cut.tap(inputs, lambda: self.original(*args, **kwargs))
        return output


def build_block_cut(model: nn.Module, numbers: tuple[int, ...], predictor: PredictorKind) -> AttachedBlockCut:
    """The builder of `blocks:FRONT,TAIL`."""
    front, tail = numbers
    return AttachedBlockCut(model, front, tail, predictor.order, probe=predictor.probes)
