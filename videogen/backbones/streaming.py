"""Streaming decode: pixels of a long video from its latents as they are generated, in constant memory.

However the latents are split, the pixels are those of one `Backbone.decode`, bit for bit. All state is in the decoder,
none on the model: any number of decoders may take turns on one VAE, together with ordinary decodes. `FramewiseDecoder`
is for VAEs that decode each frame separately.

    decoder = backbone.stream_decoder()
    for latents in segments:                    # [1, c, f, h, w], in order
        write(decoder.push(latents))            # pixels [1, frames, h, w, 3], those that are final
    write(decoder.finish())                     # those that were held back

Legend: b batch (1), c channel, f frame, h height, w width.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from videogen.core.errors import InputError

_T = TypeVar("_T")
_Decoder = TypeVar("_Decoder", bound="StreamDecoder")


class StreamDecoder(ABC):
    """Decoder of one stream of latents, pushed in order.

    taken: latents so far; given: frames so far, which may be fewer than the latents decode to until `finish`.
    """

    def __init__(self) -> None:
        self.taken, self.given = 0, 0
        self._shape: tuple[int, ...] | None = None
        self._closed: str | None = None  # why it accepts no more latents

    def push(self, latents: torch.Tensor, start: int | None = None) -> torch.Tensor:
        """Pixels [1, frames, h, w, 3], fp32 in 0..1, that are final with these latents [1, c, f, h, w]; possibly none.

        start: index of the first of these latents, to check the order. Raises InputError for latents out of order, of
        another size, or after `finish`.
        """
        self._check(latents, start)
        pixels = self._run(self._decode, latents)
        self.taken += latents.shape[2]
        self.given += pixels.shape[1]
        return pixels

    def finish(self) -> torch.Tensor:
        """The frames that were held back, as `push` returns them; the decoder accepts no latents after it."""
        if self._shape is None:
            raise InputError("no latents were decoded; push at least one latent frame before finish()")
        self._check_open()
        pixels = self._run(self._rest)
        self._closed = "has finished"
        self.given += pixels.shape[1]
        return pixels

    def fork(self: _Decoder) -> _Decoder:
        """A second decoder at the same place of the stream, which may continue with other latents."""
        twin = copy.copy(self)
        vars(twin).update({name: _copy_state(value) for name, value in vars(self).items()})
        return twin

    def _check(self, latents: torch.Tensor, start: int | None) -> None:
        self._check_open()
        if latents.ndim != 5 or latents.shape[0] != 1 or 0 in latents.shape:
            raise InputError(
                f"latents {list(latents.shape)} cannot be decoded in a stream; push [1, channel, frame, height, width]"
            )
        if start is not None and start != self.taken:
            raise InputError(
                f"latents from {start} on were pushed, the next is {self.taken}; push them in order, each once"
            )
        shape = (latents.shape[1], *latents.shape[3:])
        if self._shape not in (None, shape):
            raise InputError(
                f"latents of [c, h, w] {list(shape)} were pushed after {list(self._shape or ())}; a stream has one size"
            )
        self._shape = shape

    def _check_open(self) -> None:
        if self._closed:
            raise InputError(f"this decoder {self._closed}; create a new one with Backbone.stream_decoder()")

    def _run(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Run without gradients. After a failure or an interruption the state is inconsistent and not used again."""
        try:
            with torch.no_grad():
                return work(*arguments)
        except BaseException:
            self._closed = "failed midway"
            raise

    @abstractmethod
    def _decode(self, latents: torch.Tensor) -> torch.Tensor: ...

    @abstractmethod
    def _rest(self) -> torch.Tensor: ...


def _copy_state(value: Any) -> Any:
    """A decoder's attribute for its fork: tensors, also in lists, of its own; modules and functions are shared."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    return [_copy_state(item) for item in value] if isinstance(value, list) else value


class FramewiseDecoder(StreamDecoder):
    """Decoder for VAEs that decode each frame separately.

    decode: `Backbone.decode`, which calls the VAE with `group` frames at a time; spatial: px per latent. The last bits
    of a convolution depend on its batch size, so frames are decoded in the same groups as by `decode`, and up to
    group - 1 latents wait for theirs.
    """

    def __init__(self, decode: Callable[[torch.Tensor], torch.Tensor], group: int, spatial: int) -> None:
        super().__init__()
        self._decode_frames, self._group, self._spatial = decode, group, spatial
        self._waiting: torch.Tensor | None = None

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        ready = latents if self._waiting is None else torch.cat([self._waiting, latents], 2)
        count = ready.shape[2] // self._group * self._group
        self._waiting = ready[:, :, count:].clone()
        return self._decode_frames(ready[:, :, :count]) if count else self._nothing(latents)

    def _rest(self) -> torch.Tensor:
        assert self._waiting is not None
        return self._decode_frames(self._waiting) if self._waiting.shape[2] else self._nothing(self._waiting)

    def _nothing(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.empty((1, 0, *(self._spatial * side for side in latents.shape[3:]), 3), device=latents.device)
