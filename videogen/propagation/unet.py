"""Cuts through a UNet: which encoder and decoder layers are fresh at steps between keys (a family of two numbers).

Layers count as skip connections do: S of them come out of the encoder (`conv_in`, each down layer, each downsampler)
and the decoder's S layers take them in reverse. `cut:E,D` keeps the first E encoder layers and the last D decoder
layers fresh. `cut:0,S` is Faster Diffusion (Li et al. 2312.09608): the latents do not enter, so that steps can be
decoded ahead; `cut:B+1,B+1` is DeepCache (Ma et al. 2312.00858) at branch B; `cut:E,S` lets the latents through.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from videogen.core.errors import InputError, UnsupportedError

from .boundary import Boundary
from .stubs import Cell, Stub

_LAYER = ("resnets", "temp_convs", "attentions", "temp_attentions", "motion_modules")


def is_unet(model: Any) -> bool:
    """Whether a model has the encoder, middle and decoder that a cut needs."""
    return all(getattr(model, name, None) is not None for name in ("conv_in", "down_blocks", "mid_block", "up_blocks"))


class UnetCut(Boundary):
    """One cut through one UNet of diffusers' layout. Raises UnsupportedError for another layout, InputError for a bad
    cut."""

    whole_lines = False

    def __init__(self, model: Any, encoder: int, decoder: int, order: int) -> None:
        super().__init__(order)
        layers, ups = _encoder_layers(model), _decoder_layers(model)
        total = len(layers)
        if len(ups) != total:
            raise UnsupportedError(
                f"{type(model).__name__} has {total} encoder and {len(ups)} decoder layers; a cut needs as many of both"
            )
        if not (0 <= encoder <= total and 1 <= decoder <= total):
            raise InputError(
                f"cut:{encoder},{decoder} does not fit {type(model).__name__}; use cut:0..{total},1..{total}"
            )
        self.encoder, self.decoder, self.reads_latents = encoder, decoder, encoder > 0
        self._cells: list[Cell] = []
        self._stubs: list[Stub] = []
        self._ups = model.up_blocks
        for index in range(encoder, total):
            self._stand_in(layers[index], kept=index < decoder)
        self._stand_in([model.mid_block], kept=decoder == total)
        for index in range(total - decoder):
            self._stand_in(ups[index], kept=index == total - decoder - 1)

    @property
    def name(self) -> str:
        return f"cut:{self.encoder},{self.decoder}"

    def cells(self) -> list[Cell]:
        return self._cells

    def _clone(self) -> bool:
        """FreeU writes into its inputs."""
        return any(getattr(block, "s1", None) is not None for block in self._ups)

    def _stand_in(self, modules: list[nn.Module], kept: bool) -> None:
        """Stubs for the modules of one layer; the last one's output is kept if a fresh layer reads it."""
        cell = Cell(self.order + 1) if kept else None
        self._cells += [cell] if cell else []
        for module in modules[:-1]:
            self._stubs.append(Stub(module, self.now, None, self._clone))
        self._stubs.append(Stub(modules[-1], self.now, cell, self._clone))

    def close(self) -> None:
        for stub in self._stubs:
            stub.close()
        self._stubs.clear()


def layer_count(model: Any) -> int:
    """S: how many skips the model's encoder gives."""
    return len(_encoder_layers(model))


def _encoder_layers(model: Any) -> list[list[nn.Module]]:
    first = [model.conv_in, getattr(model, "transformer_in", None)]
    layers = [[module for module in first if module is not None]]
    for block in model.down_blocks:
        layers += _layers_of(block)
        layers += [list(block.downsamplers)] if block.downsamplers is not None else []
    return layers


def _decoder_layers(model: Any) -> list[list[nn.Module]]:
    layers: list[list[nn.Module]] = []
    for block in model.up_blocks:
        own = _layers_of(block)
        if block.upsamplers is not None:
            own[-1] += list(block.upsamplers)
        layers += own
    return layers


def _layers_of(block: Any) -> list[list[nn.Module]]:
    lists = [getattr(block, name) for name in _LAYER if getattr(block, name, None) is not None]
    if not lists or any(len(part) != len(lists[0]) for part in lists):
        raise UnsupportedError(f"{type(block).__name__} is no block of layers that can be cut; use boundary 'output'")
    return [[part[index] for part in lists] for index in range(len(lists[0]))]
