"""Window-based attention fusion: a model's temporal attention sees a long clip through windows of its own length.

FreeNoise (2310.15169, section on window-based attention fusion): each temporal block runs on overlapping windows of
frames, positions counted from 0 in each, and what overlaps is averaged, nearer to a window's centre with more weight.
Spatial layers and convolutions see all frames as they are, so one evaluation covers the clip; co-denoising instead runs
the whole model a window at a time.

    with attach_window_attention(backbone, size=16, overlap=12):
        backbone.predict(latents, timestep, text)      # latents of 200 frames

Only instances' `forward` is replaced; a clip of at most `size` frames runs as if nothing were attached.
Legend: [n, f, c], n = batch * height * width.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch import nn

from videogen.backbones.base import Backbone
from videogen.core.errors import InputError, UnsupportedError
from videogen.schedulers.windows import Windows


def attach_window_attention(
    backbone: Backbone, size: int, overlap: int, weights: str = "triangular"
) -> WindowAttention:
    """Run the model's temporal blocks on windows of `size` latent frames that share `overlap`, until `close()`.

    weights: how windows count where they overlap, as of `Windows`. Also a context manager. A model is compiled, copied
    or saved before or after, not while. Raises InputError for numbers that do not fit or what is attached already,
    UnsupportedError where the model has no temporal blocks.
    """
    return WindowAttention(backbone, Windows(size, size, overlap, weights=weights))


class WindowAttention:
    """Windows on one model's temporal blocks. `close()` takes them off."""

    def __init__(self, backbone: Backbone, windows: Windows) -> None:
        self._blocks: list[_WindowedBlock] = []
        blocks, most = backbone.temporal_blocks(), backbone.temporal_positions
        if not blocks:
            raise UnsupportedError(
                f"{backbone.name!r} has no blocks of temporal attention alone to see through windows; use 'co_denoise', "
                f"which runs the whole model a window at a time"
            )
        if most is not None and windows.size > most:
            raise InputError(
                f"size:{windows.size} is more than the {most} frames that {backbone.name!r} can tell apart; use size:{most}"
            )
        _check_free(backbone, blocks)
        self._blocks += [_WindowedBlock(block, windows) for block in blocks]

    def close(self) -> None:
        """The model is as it was before."""
        for block in self._blocks:
            block.close()
        self._blocks.clear()

    def __enter__(self) -> WindowAttention:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _WindowedBlock:
    """One block, its instance's `forward` replaced."""

    def __init__(self, block: nn.Module, windows: Windows) -> None:
        self._block, self._windows = block, windows
        self._own = vars(block).get("forward")
        self._original = block.forward
        block.forward = self._forward

    def _forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        frames, size = hidden_states.shape[1], self._windows.size
        if frames <= size:
            return self._original(hidden_states, *args, **kwargs)
        windows = Windows(frames, size, self._windows.overlap, weights=self._windows.weights)
        seen = (self._original(hidden_states[:, w.slots], *args, **kwargs) for w in windows.at())
        fused = windows.fuse(part[None, ..., None] for part in seen)  # to `fuse`, [1, n, f, c, 1] is [b, c, f, h, w]
        return fused[0, ..., 0]

    def close(self) -> None:
        if self._own is None:
            vars(self._block).pop("forward", None)
        else:
            self._block.forward = self._own

    def __deepcopy__(self, memo: Any) -> Any:
        raise InputError("a model cannot be copied while window attention is attached; close() the handle first")

    def __reduce__(self) -> Any:
        raise InputError(
            "a model cannot be saved as a whole while window attention is attached; close() the handle first"
        )


def _check_free(backbone: Backbone, blocks: list[nn.Module]) -> None:
    if any(isinstance(getattr(vars(block).get("forward"), "__self__", None), _WindowedBlock) for block in blocks):
        raise InputError(f"{backbone.name!r} has window attention attached already; close() that handle first")
    for model in backbone.denoisers():
        if hasattr(model, "_orig_mod") or any(
            getattr(m, "_compiled_call_impl", None) is not None for m in model.modules()
        ):
            raise InputError(
                f"{backbone.name!r} is compiled, so nothing that is attached would run; attach first, then compile"
            )
