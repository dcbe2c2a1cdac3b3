"""The frame lattice of a video UNet: the encoder's spatial layers run on the fresh frames only.

    fresh frame k:  out_k = layer(h_k),  delta_k = out_k - base(h_k)
    other frame f:  out_f = base(h_f) + sum_k w_fk delta_k

base is the layer's own shortcut (its 1x1 convolution where channels change), so each frame keeps its stream and only
the residual is carried, by linear interpolation between the two nearest fresh frames. Temporal layers, mixing,
downsamplers, middle and decoder see all frames. Nothing is kept between calls.

Shapes: frames lie in axis 0 as (batch frames), those of one sample side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as tree

from videogen.core.errors import InputError, UnsupportedError

from .lattice import Asked, Lattice, LayerStub


class UnetLattice(Lattice):
    """On a UNet of diffusers' layout. Raises UnsupportedError for another layout, InputError if other stubs were
    first."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        layers = spatial_layers(model)
        try:
            for layer in layers:
                self._stubs.append(_Spatial(layer, self))
        except BaseException:
            self.close()
            raise


def spatial_layers(model: Any) -> list[nn.Module]:
    """The encoder's layers that treat each frame by itself, apart from their temporal sisters. Raises
    UnsupportedError."""
    found: list[nn.Module] = []
    for block in model.down_blocks:
        resnets = [getattr(resnet, "spatial_res_block", resnet) for resnet in getattr(block, "resnets", ())]
        if not resnets or not all(hasattr(r, "conv_shortcut") and not _resizes(r) for r in resnets):
            raise UnsupportedError(
                f"{type(model).__name__} has {type(block).__name__}, whose spatial layers cannot be told apart; use frames=1"
            )
        found += resnets
        for attention in getattr(block, "attentions", None) or ():
            mixed = hasattr(attention, "temporal_transformer_blocks")
            found += list(attention.transformer_blocks) if mixed else [attention]
    return found


def _resizes(resnet: Any) -> bool:
    return getattr(resnet, "upsample", None) is not None or getattr(resnet, "downsample", None) is not None


def frame_weights(fresh: Sequence[int], frames: int) -> torch.Tensor:
    """[frames, fresh]: by how much each fresh frame carries each frame; linear between neighbours, nearest at the ends.

    fresh: ascending. Rows sum to one; a fresh frame's row is its own alone.
    """
    weights = torch.zeros(frames, len(fresh))
    for f in range(frames):
        right = next((i for i, k in enumerate(fresh) if k >= f), len(fresh) - 1)
        left = next((i for i in reversed(range(len(fresh))) if fresh[i] <= f), 0)
        share = (f - fresh[left]) / (fresh[right] - fresh[left]) if fresh[left] < f < fresh[right] else 0.0
        weights[f, left] += 1.0 - share
        weights[f, right] += share
    return weights


class _Spatial(LayerStub):
    """One spatial layer: a 2-D resnet, a 2-D transformer or one block of it."""

    def __init__(self, module: nn.Module, lattice: Lattice) -> None:
        self._shortcut = getattr(module, "conv_shortcut", None)
        self._scale = float(getattr(module, "output_scale_factor", 1.0))
        super().__init__(module, lattice)

    def run(self, asked: Asked, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if asked.everything:
            return self._replaced.original(*args, **kwargs)
        hidden = self.stream(args, kwargs)
        rows = self._rows(asked, hidden)
        cut_args, cut_kwargs = tree.tree_map(lambda x: _cut(x, rows, len(hidden)), (args, kwargs))
        output = self._replaced.original(*cut_args, **cut_kwargs)
        fresh = output[0] if isinstance(output, tuple) else output
        if not isinstance(fresh, torch.Tensor):
            raise UnsupportedError(
                f"{self._module_name} returns {type(output).__name__}, no tensor or tuple; use frames=1"
            )
        whole = self._carry(asked, hidden, fresh, rows)
        return (whole, *output[1:]) if isinstance(output, tuple) else whole

    def _rows(self, asked: Asked, hidden: torch.Tensor) -> torch.Tensor:
        """Places of the fresh frames in axis 0."""
        total, frames = len(hidden), asked.frames
        if total % frames:
            raise InputError(
                f"axis 0 of {self._module_name}'s input has {total} entries, no multiple of frames={frames}; give the video's"
            )
        starts = range(0, total, frames)
        return asked.once(
            ("rows", total, hidden.device),
            lambda: torch.tensor([s + k for s in starts for k in asked.fresh], device=hidden.device),
        )

    def _carry(self, asked: Asked, hidden: torch.Tensor, fresh: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """All frames' outputs: the fresh ones as they are, the others' from their own stream and the fresh ones'
        change."""
        base = self._base(hidden)
        weights = asked.once(
            ("weights", fresh.dtype, fresh.device),
            lambda: frame_weights(asked.fresh, asked.frames).to(fresh.device, fresh.dtype),
        )
        delta = (fresh - base[rows]).unflatten(0, (-1, len(asked.fresh))).flatten(2)
        carried = (weights @ delta).reshape(base.shape)
        return (base + carried).to(fresh.dtype).index_copy(0, rows, fresh)

    def _base(self, hidden: torch.Tensor) -> torch.Tensor:
        short = hidden if self._shortcut is None else self._shortcut(hidden)
        return short if self._scale == 1.0 else short / self._scale


def _cut(value: Any, rows: torch.Tensor, total: int) -> Any:
    """Of a tensor with an entry for each frame of each sample: the fresh ones'."""
    return value[rows] if isinstance(value, torch.Tensor) and value.ndim > 0 and value.shape[0] == total else value
