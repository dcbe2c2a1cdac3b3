"""Frame subset of a video UNet: the encoder's spatial layers run on the fresh frames only.

    fresh frame k:  out_k = layer(h_k),  delta_k = out_k - base(h_k)
    other frame f:  out_f = base(h_f) + sum_k w_fk delta_k

base is the shortcut of the layer (its 1x1 convolution if channels change), so each frame retains its stream and only
the residual is propagated, by linear interpolation between the two nearest fresh frames. Temporal layers, mixing,
downsamplers, middle and decoder run on all frames. Nothing is cached between calls.

Shapes: axis 0 is (batch frames), with the frames of one sample next to each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.utils import _pytree as tree

from videogen.core.errors import InputError, UnsupportedError

from .frame_subset import FrameSelection, FrameSubset, FrameSubsetLayer


class UnetFrameSubset(FrameSubset):
    """Frame subset of a UNet with the layout of diffusers. UnsupportedError for another layout, InputError if another
    attachment came first."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        layers = spatial_layers(model)
        try:
            for layer in layers:
                self._layers.append(_SpatialLayer(layer, self))
        except BaseException:
            self.close()
            raise


def spatial_layers(model: nn.Module) -> list[nn.Module]:
    """The encoder layers that treat each frame separately, without their temporal counterparts. UnsupportedError for
    another layout."""
    found: list[nn.Module] = []
    for block in getattr(model, "down_blocks", ()):
        resnets = [getattr(resnet, "spatial_res_block", resnet) for resnet in getattr(block, "resnets", ())]
        if not resnets or not all(hasattr(r, "conv_shortcut") and not _resizes(r) for r in resnets):
            raise UnsupportedError(
                f"{type(model).__name__} has {type(block).__name__}, whose spatial layers cannot be separated; "
                "use frames=1"
            )
        found += resnets
        for attention in getattr(block, "attentions", None) or ():
            mixed = hasattr(attention, "temporal_transformer_blocks")
            found += list(attention.transformer_blocks) if mixed else [attention]
    return found


def _resizes(resnet: nn.Module) -> bool:
    return getattr(resnet, "upsample", None) is not None or getattr(resnet, "downsample", None) is not None


def frame_weights(fresh: Sequence[int], frames: int) -> torch.Tensor:
    """[frames, fresh]: the weight of each fresh frame in each frame; linear between neighbours, nearest at the ends.

    fresh: ascending. Rows sum to one; a fresh frame's row has weight on itself only.
    """
    weights = torch.zeros(frames, len(fresh))
    for f in range(frames):
        right = next((i for i, k in enumerate(fresh) if k >= f), len(fresh) - 1)
        left = next((i for i in reversed(range(len(fresh))) if fresh[i] <= f), 0)
        weight = (f - fresh[left]) / (fresh[right] - fresh[left]) if fresh[left] < f < fresh[right] else 0.0
        weights[f, left] += 1.0 - weight
        weights[f, right] += weight
    return weights


class _SpatialLayer(FrameSubsetLayer):
    """One spatial layer: a 2-D resnet, a 2-D transformer or one block of it."""

    def __init__(self, module: nn.Module, subset: FrameSubset) -> None:
        self._shortcut = getattr(module, "conv_shortcut", None)
        self._scale = float(getattr(module, "output_scale_factor", 1.0))
        super().__init__(module, subset)

    def run(self, selection: FrameSelection, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        if selection.is_full:
            return self.original(*args, **kwargs)
        hidden = self.hidden_states(args, kwargs)
        rows = self._rows(selection, hidden)
        fresh_args, fresh_kwargs = tree.tree_map(lambda x: _select_rows(x, rows, len(hidden)), (args, kwargs))
        output = self.original(*fresh_args, **fresh_kwargs)
        fresh = output[0] if isinstance(output, tuple) else output
        if not isinstance(fresh, torch.Tensor):
            raise UnsupportedError(
                f"{self._module_name} returns {type(output).__name__}, not a tensor or tuple; use frames=1"
            )
        full = self._propagate(selection, hidden, fresh, rows)
        return (full, *output[1:]) if isinstance(output, tuple) else full

    def _rows(self, selection: FrameSelection, hidden: torch.Tensor) -> torch.Tensor:
        """Indices of the fresh frames in axis 0."""
        total, frames = len(hidden), selection.frames
        if total % frames:
            raise InputError(
                f"axis 0 of {self._module_name}'s input has {total} entries, not a multiple of frames={frames}; "
                "give the video's"
            )
        starts = range(0, total, frames)
        return selection.shared(
            ("rows", total, hidden.device),
            lambda: torch.tensor([s + k for s in starts for k in selection.fresh], device=hidden.device),
        )

    def _propagate(
        self, selection: FrameSelection, hidden: torch.Tensor, fresh: torch.Tensor, rows: torch.Tensor
    ) -> torch.Tensor:
        """The outputs of all frames: fresh ones as computed, others from their stream and the change of the fresh."""
        base = self._base(hidden)
        weights = selection.shared(
            ("weights", fresh.dtype, fresh.device),
            lambda: frame_weights(selection.fresh, selection.frames).to(fresh.device, fresh.dtype),
        )
        delta = (fresh - base[rows]).unflatten(0, (-1, len(selection.fresh))).flatten(2)
        propagated = (weights @ delta).reshape(base.shape)
        return (base + propagated).to(fresh.dtype).index_copy(0, rows, fresh)

    def _base(self, hidden: torch.Tensor) -> torch.Tensor:
        short = hidden if self._shortcut is None else self._shortcut(hidden)
        return short if self._scale == 1.0 else short / self._scale


def _select_rows(value: object, rows: torch.Tensor, total: int) -> object:
    """The rows of the fresh frames in a tensor with one row per frame of each sample; any other value unchanged."""
    return value[rows] if isinstance(value, torch.Tensor) and value.ndim > 0 and value.shape[0] == total else value
