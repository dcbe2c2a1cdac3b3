"""Window-based attention fusion: the temporal attention of a model runs on overlapping windows of a long clip.

FreeNoise (2310.15169, section on window-based attention fusion): each temporal block runs on windows of the model's
native length, with positions counted from 0 in each. Where windows overlap, their outputs are averaged, with more
weight near a window's centre. Spatial layers and convolutions run on all frames as usual, so one evaluation covers the
clip; co-denoising instead runs the full model on one window at a time.

    with attach_window_attention(backbone, size=16, overlap=12):
        backbone.predict(latents, timestep, text)      # latents of 200 frames

A clip of at most `size` frames runs as if nothing were attached.
Legend: [n, f, c], n = batch * height * width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, cast

import torch
from torch import nn

from videogen.backbones.base import Backbone
from videogen.core.attachment import ForwardAttachment, check_free, check_not_compiled
from videogen.core.errors import InputError, UnsupportedError, unknown
from videogen.schedulers.windows import FUSIONS, Windows


def attach_window_attention(
    backbone: Backbone, size: int, overlap: int, weights: str = "triangular", fusion: str = FUSIONS[0]
) -> WindowAttention:
    """Run the model's temporal blocks on windows of `size` latent frames that share `overlap` frames, until `close()`.

    weights: the weighting of windows where they overlap, see `Windows`; fusion: `attention`, as published, or `block`,
    whose feed-forward layer runs on windows too. Also a context manager. Compile, copy or save
    the model before or after, not while this is attached. Raises InputError for numbers that do not fit and where
    window attention is attached already, UnsupportedError where the model has no temporal blocks.
    """
    if fusion not in FUSIONS:
        raise unknown("fusion of windows", fusion, FUSIONS)
    return WindowAttention(backbone, Windows(size, size, overlap, weights=weights), fusion)


class WindowAttention:
    """Window attention on one model's temporal blocks, until `close()`."""

    def __init__(self, backbone: Backbone, windows: Windows, fusion: str = FUSIONS[0]) -> None:
        blocks, positions = backbone.temporal_blocks(), backbone.temporal_positions
        if not blocks:
            raise UnsupportedError(
                f"{backbone.name!r} has no separate blocks of temporal attention to run on windows; use 'co_denoise', "
                "which runs the full model on one window at a time"
            )
        if positions is not None and windows.size > positions:
            raise InputError(
                f"size:{windows.size} is more than the {positions} frame positions of {backbone.name!r}; "
                f"use size:{positions}"
            )
        for block in blocks:
            check_free(block, _WindowedBlock, name=repr(backbone.name))
        for model in backbone.denoisers():
            check_not_compiled(model, blocks, name=repr(backbone.name))
        kind = _WindowedBlock if fusion == FUSIONS[0] else _WindowedAttention
        self._blocks = [kind(block, windows, self) for block in blocks]

    def close(self) -> None:
        """Restore the model."""
        for block in self._blocks:
            block.detach()
        self._blocks.clear()

    def __enter__(self) -> WindowAttention:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _WindowedBlock(ForwardAttachment):
    """One temporal block that runs on windows."""

    kind = "window attention"

    def __init__(self, block: nn.Module, windows: Windows, handle: WindowAttention) -> None:
        self._windows, self.handle = windows, handle
        super().__init__(block)

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        frames, size = hidden_states.shape[1], self._windows.size
        if frames <= size:
            return self.original(hidden_states, *args, **kwargs)
        windows = Windows(frames, size, self._windows.overlap, weights=self._windows.weights)
        return self._fuse(windows, (self.original(hidden_states[:, w.slots], *args, **kwargs) for w in windows.at()))

    def _fuse(self, windows: Windows, outputs: Iterator[torch.Tensor]) -> torch.Tensor:
        fused = windows.fuse(part[None, ..., None] for part in outputs)  # to `fuse`, [1, n, f, c, 1] is [b, c, f, h, w]
        return fused[0, ..., 0]


class _WindowedAttention(_WindowedBlock):
    """One temporal block whose attentions run on windows, and whose feed-forward layer runs on all frames."""

    def __init__(self, block: nn.Module, windows: Windows, handle: WindowAttention) -> None:
        super().__init__(block, windows, handle)
        # see `Backbone.temporal_blocks`
        self._layer, self._norm = cast(nn.Module, block.ff), cast(nn.Module, block.norm3)
        self._feed_forward = _DeferredFeedForward(self._layer, handle)

    def _fuse(self, windows: Windows, outputs: Iterator[torch.Tensor]) -> torch.Tensor:
        with self._feed_forward.deferred():
            fused = super()._fuse(windows, outputs)
        return fused + self._layer(self._norm(fused))

    def detach(self) -> None:
        self._feed_forward.detach()
        super().detach()


class _DeferredFeedForward(ForwardAttachment):
    """A block's feed-forward layer, which adds nothing while the block's windows run."""

    kind = "window attention"

    def __init__(self, feed_forward: nn.Module, handle: WindowAttention) -> None:
        self.handle, self._is_deferred = handle, False
        super().__init__(feed_forward)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """While this is open, the layer's output is 0."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if self._is_deferred:
            return torch.zeros_like(hidden_states)
        return self.original(hidden_states, *args, **kwargs)
