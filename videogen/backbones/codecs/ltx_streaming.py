"""Streaming decode of LTX-Video's VAE, whose convolutions may look ahead.

The decoder is a sequence of convolutions over time and of operations on single frames. Each convolution keeps the last
frames of its input, and gives a frame as soon as those that it looks ahead to have arrived; residual branches wait for
it. The state is some frames of activations per convolution, whatever the length. A convolution of one frame gives the
bits of one of all frames (measured on CPUs, fp32, for frames of 16 latents or more; with two threads not for few
latents of 512 channels).

Legend: [1, c, f, h, w].
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch

from ..base import to_unit_range
from ..streaming import StreamDecoder

_Work = Callable[[torch.Tensor], torch.Tensor]


def streams_frames(vae: Any) -> bool:
    """Whether the VAE, as it is now, decodes an entire clip at once, without tiles, timesteps or noise of its own."""
    noisy = any(getattr(module, "per_channel_scale1", None) is not None for module in vae.decoder.modules())
    return not (vae.use_tiling or vae.use_framewise_decoding or vae.config.timestep_conditioning or noisy)


class LTXStreamDecoder(StreamDecoder):
    """Stream decoder of an `AutoencoderKLLTXVideo`. prepare: latents to the VAE's scale, device and dtype."""

    def __init__(self, vae: Any, prepare: _Work) -> None:
        super().__init__()
        self._vae, self._prepare = vae, prepare
        self._stage = _decoder_stage(vae.decoder)
        self._empty: torch.Tensor | None = None

    def fork(self) -> LTXStreamDecoder:
        twin = super().fork()
        twin._stage = self._stage.fork()
        return twin

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        hook = getattr(self._vae, "_hf_hook", None)
        if hook is not None and hasattr(hook, "pre_forward"):
            hook.pre_forward(self._vae)  # accelerate's, which moves an offloaded VAE to the device
        prepared = self._prepare(latents)
        ratio = self._vae.spatial_compression_ratio
        self._empty = torch.empty((1, 0, *(ratio * side for side in latents.shape[3:]), 3), device=prepared.device)
        return self._pixels([self._stage.push(frame, False) for frame in prepared.split(1, 2)])

    def _rest(self) -> torch.Tensor:
        return self._pixels([self._stage.push(None, True)])

    def _pixels(self, parts: list[torch.Tensor | None]) -> torch.Tensor:
        assert self._empty is not None
        return torch.cat([self._empty, *(to_unit_range(part) for part in parts if part is not None)], 1)


class _Stage(ABC):
    """A part of the decoder: takes frames, or None, and gives those that are complete. last: no more will follow."""

    @abstractmethod
    def push(self, frames: torch.Tensor | None, last: bool) -> torch.Tensor | None: ...

    def fork(self) -> _Stage:
        """The same with a state of its own; tensors are never written to, so they are shared."""
        return copy.copy(self)


class _PerFrame(_Stage):
    def __init__(self, work: _Work) -> None:
        self._work = work

    def push(self, frames: torch.Tensor | None, last: bool) -> torch.Tensor | None:
        return None if frames is None else self._work(frames)


class _Sequence(_Stage):
    def __init__(self, *stages: _Stage) -> None:
        self._stages = list(stages)

    def push(self, frames: torch.Tensor | None, last: bool) -> torch.Tensor | None:
        for stage in self._stages:
            frames = stage.push(frames, last)
        return frames

    def fork(self) -> _Sequence:
        return _Sequence(*(stage.fork() for stage in self._stages))


class _Convolution(_Stage):
    """Of an `LTXVideoCausalConv3d`, which repeats the first frame, and the last one where it looks ahead."""

    def __init__(self, module: Any) -> None:
        self._module, self._reach = module, module.kernel_size[0] - 1
        self._ahead = 0 if module.is_causal else self._reach // 2
        self._held: torch.Tensor | None = None

    def push(self, frames: torch.Tensor | None, last: bool) -> torch.Tensor | None:
        if self._held is None:
            if frames is None:
                return None
            self._held = frames[:, :, :1].repeat(1, 1, self._reach - self._ahead, 1, 1)
        held = self._held if frames is None else torch.cat([self._held, frames], 2)
        if last and self._ahead:
            held = torch.cat([held, held[:, :, -1:].repeat(1, 1, self._ahead, 1, 1)], 2)
        self._held = held[:, :, max(0, held.shape[2] - self._reach) :]
        return self._convolve(held) if held.shape[2] > self._reach else None

    def _convolve(self, held: torch.Tensor) -> torch.Tensor:
        """Frame by frame, however many are complete."""
        count = held.shape[2] - self._reach
        return torch.cat([self._module.conv(held[:, :, at : at + self._reach + 1]) for at in range(count)], 2)


class _Residual(_Stage):
    """body: whose output is joined with the frames of its input that it belongs to, by join(output, input, first)."""

    def __init__(self, body: _Stage, join: Callable[[torch.Tensor, torch.Tensor, bool], torch.Tensor]) -> None:
        self._body, self._join = body, join
        self._waiting: torch.Tensor | None = None
        self._started = False

    def push(self, frames: torch.Tensor | None, last: bool) -> torch.Tensor | None:
        if frames is not None:
            self._waiting = frames if self._waiting is None else torch.cat([self._waiting, frames], 2)
        output = self._body.push(frames, last)
        if output is None or self._waiting is None:
            return None
        inputs, self._waiting = self._waiting.tensor_split([output.shape[2]], 2)
        begins, self._started = not self._started, True
        return self._join(output, inputs, begins)

    def fork(self) -> _Residual:
        twin = copy.copy(self)
        twin._body = self._body.fork()
        return twin


def _decoder_stage(decoder: Any) -> _Stage:
    """All of an `LTXVideoDecoder3d`."""
    blocks = [*map(_resnet_stage, decoder.mid_block.resnets)]
    for block in decoder.up_blocks:
        blocks += [] if block.conv_in is None else [_resnet_stage(block.conv_in)]
        blocks += [_upsampler_stage(upsampler) for upsampler in block.upsamplers or ()]
        blocks += map(_resnet_stage, block.resnets)

    def finish(frames: torch.Tensor) -> torch.Tensor:
        return decoder.conv_act(_over_channels(decoder.norm_out, frames))  # type: ignore[no-any-return]

    def unpatchify(frames: torch.Tensor) -> torch.Tensor:
        side, length = decoder.patch_size, decoder.patch_size_t
        batch, _, count, height, width = frames.shape
        frames = frames.reshape(batch, -1, length, side, side, count, height, width)
        return frames.permute(0, 1, 5, 2, 6, 4, 7, 3).flatten(6, 7).flatten(4, 5).flatten(2, 3)

    return _Sequence(
        _Convolution(decoder.conv_in), *blocks, _PerFrame(finish), _Convolution(decoder.conv_out), _PerFrame(unpatchify)
    )


def _resnet_stage(block: Any) -> _Stage:
    def before(frames: torch.Tensor) -> torch.Tensor:
        return block.nonlinearity(_over_channels(block.norm1, frames))  # type: ignore[no-any-return]

    def between(frames: torch.Tensor) -> torch.Tensor:
        return block.dropout(block.nonlinearity(_over_channels(block.norm2, frames)))  # type: ignore[no-any-return]

    def join(output: torch.Tensor, inputs: torch.Tensor, begins: bool) -> torch.Tensor:
        if block.norm3 is not None:
            inputs = _over_channels(block.norm3, inputs)
        return output + (inputs if block.conv_shortcut is None else block.conv_shortcut(inputs))

    body = (_PerFrame(before), _Convolution(block.conv1), _PerFrame(between), _Convolution(block.conv2))
    return _Residual(_Sequence(*body), join)


def _upsampler_stage(upsampler: Any) -> _Stage:
    """Channels to space and time; the first frame gives one frame only."""
    stride = upsampler.stride

    def spread(frames: torch.Tensor) -> torch.Tensor:
        batch, _, count, height, width = frames.shape
        frames = frames.reshape(batch, -1, *stride, count, height, width)
        return frames.permute(0, 1, 5, 2, 6, 3, 7, 4).flatten(6, 7).flatten(4, 5).flatten(2, 3)

    def join(output: torch.Tensor, inputs: torch.Tensor, begins: bool) -> torch.Tensor:
        frames = spread(output)
        if upsampler.residual:
            repeats = stride[0] * stride[1] * stride[2] // upsampler.upscale_factor
            frames = frames + spread(inputs).repeat(1, repeats, 1, 1, 1)
        return frames[:, :, stride[0] - 1 :] if begins else frames

    return _Residual(_Convolution(upsampler.conv), join)


def _over_channels(norm: Any, frames: torch.Tensor) -> torch.Tensor:
    """A norm of the last axis, applied to the channels."""
    return norm(frames.movedim(1, -1)).movedim(-1, 1)  # type: ignore[no-any-return]
