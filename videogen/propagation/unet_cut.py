"""Split points of a UNet: the encoder and decoder layers that run between key steps, given by two numbers.

Layers are counted by skip connections: S of them leave the encoder (`conv_in`, each down layer, each downsampler), and
the S layers of the decoder take them in reverse order. `cut:E,D` runs the first E encoder layers and the last D decoder
layers at every step. `cut:0,S` is Faster Diffusion (Li et al. 2312.09608): the latents do not enter, so steps can be
decoded ahead; `cut:B+1,B+1` is DeepCache (Ma et al. 2312.00858) at branch B; `cut:E,S` lets the latents through.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from videogen.core.errors import InputError, UnsupportedError

from .cached_layer import CachedLayer
from .cut import Cut
from .cut_state import CacheEntry
from .predictor_kinds import PredictorKind

_LAYER = ("resnets", "temp_convs", "attentions", "temp_attentions", "motion_modules")


def is_unet(model: nn.Module) -> bool:
    """Whether a model has the encoder, middle and decoder that a cut needs."""
    return all(getattr(model, name, None) is not None for name in ("conv_in", "down_blocks", "mid_block", "up_blocks"))


class UnetCut(Cut):
    """One cut through one UNet with the layout of diffusers. UnsupportedError for another layout, InputError for a cut
    that does not fit."""

    full_lines = False

    def __init__(self, model: nn.Module, encoder: int, decoder: int, order: int) -> None:
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
        self._entries: list[CacheEntry] = []
        self._layers: list[CachedLayer] = []
        self._ups = list(_blocks(model, "up_blocks"))
        for index in range(encoder, total):
            self._cache_layer(layers[index], read=index < decoder)
        self._cache_layer(_blocks(model, "mid_block"), read=decoder == total)
        for index in range(total - decoder):
            self._cache_layer(ups[index], read=index == total - decoder - 1)

    @property
    def name(self) -> str:
        return f"cut:{self.encoder},{self.decoder}"

    def entries(self) -> list[CacheEntry]:
        return self._entries

    def _clone(self) -> bool:
        """Whether outputs must be cloned, because FreeU writes into its inputs."""
        return any(getattr(block, "s1", None) is not None for block in self._ups)

    def _cache_layer(self, modules: list[nn.Module], read: bool) -> None:
        """Replace the modules of one layer; the output of the last one is cached if a layer that runs reads it."""
        entry = CacheEntry(self.order + 1) if read else None
        self._entries += [entry] if entry else []
        for module in modules[:-1]:
            self._layers.append(CachedLayer(module, self.state, None, self._clone))
        self._layers.append(CachedLayer(modules[-1], self.state, entry, self._clone))

    def close(self) -> None:
        for layer in self._layers:
            layer.detach()
        self._layers.clear()


def build_unet_cut(model: nn.Module, numbers: tuple[int, ...], predictor: PredictorKind) -> UnetCut:
    """The builder of `cut:E,D`."""
    _check_unet(model)
    encoder, decoder = numbers
    return UnetCut(model, encoder, decoder, predictor.order)


def build_encoder_cut(model: nn.Module, numbers: tuple[int, ...], predictor: PredictorKind) -> UnetCut:
    """The builder of `fd`: the encoder is cached, the decoder runs."""
    _check_unet(model)
    return UnetCut(model, 0, len(_encoder_layers(model)), predictor.order)


def build_branch_cut(model: nn.Module, numbers: tuple[int, ...], predictor: PredictorKind) -> UnetCut:
    """The builder of `deepcache:BRANCH`, branch 0 by default."""
    _check_unet(model)
    branch, count = numbers[0] if numbers else 0, len(_encoder_layers(model))
    if branch >= count:
        raise InputError(
            f"deepcache:{branch} is out of range for {type(model).__name__}; its branches are 0 to {count - 1}"
        )
    return UnetCut(model, branch + 1, branch + 1, predictor.order)


def _check_unet(model: nn.Module) -> None:
    if not is_unet(model):
        raise UnsupportedError(
            f"{type(model).__name__} has no encoder and decoder to cut; use max_error:E, or boundary blocks:1,1"
        )


def _blocks(model: nn.Module, name: str) -> list[Any]:
    found = getattr(model, name)
    return list(found) if isinstance(found, nn.ModuleList) else [found]


def _encoder_layers(model: nn.Module) -> list[list[nn.Module]]:
    first = [model.conv_in, getattr(model, "transformer_in", None)]
    layers = [[module for module in first if isinstance(module, nn.Module)]]
    for block in _blocks(model, "down_blocks"):
        layers += _layers_of_block(block)
        layers += [list(block.downsamplers)] if block.downsamplers is not None else []
    return layers


def _decoder_layers(model: nn.Module) -> list[list[nn.Module]]:
    layers: list[list[nn.Module]] = []
    for block in _blocks(model, "up_blocks"):
        in_block = _layers_of_block(block)
        if block.upsamplers is not None:
            in_block[-1] += list(block.upsamplers)
        layers += in_block
    return layers


def _layers_of_block(block: nn.Module) -> list[list[nn.Module]]:
    lists = [getattr(block, name) for name in _LAYER if getattr(block, name, None) is not None]
    if not lists or any(len(part) != len(lists[0]) for part in lists):
        raise UnsupportedError(f"{type(block).__name__} has no layers that can be cut; use boundary 'output'")
    return [[part[index] for part in lists] for index in range(len(lists[0]))]
