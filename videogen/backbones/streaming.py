"""Decoding as latents come: what a `StreamDecoder` is, and the one for VAEs that decode each frame by itself.

Chunk by chunk the pixels are those of one `Backbone.decode`, bit for bit, however the latents are cut. All state lies
in the decoder, none on the model: any number of them may run over one VAE, in turn, beside whole decodes.

    decoder = backbone.stream_decoder()
    for chunk in chunks:                        # latents [1, c, f, h, w], in order
        sink(decoder.push(chunk))               # pixels [1, frames, h, w, 3], those that are settled
    sink(decoder.finish())                      # those that were held back

Legend: b batch (1), c channel, f frame, h height, w width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

from videogen.core.errors import InputError, ResumeError

_T = TypeVar("_T")
_COUNTS = "counts"  # of a state: latents taken, frames given


class StreamDecoder(ABC):
    """Latents in, pixels out, in order, in memory that does not grow.

    taken: latents so far; given: frames so far. Until `finish` there may be fewer frames than the latents hold.
    """

    def __init__(self) -> None:
        self.taken, self.given = 0, 0
        self._shape: tuple[int, ...] | None = None
        self._closed: str | None = None  # why it takes no more

    @property
    @abstractmethod
    def context(self) -> int:
        """How many latents before a position `warm` needs, so that all from there on is exact."""

    def push(self, latents: torch.Tensor, start: int | None = None) -> torch.Tensor:
        """Pixels [1, frames, h, w, 3], fp32 in 0..1, that the latents [1, c, f, h, w] settle; possibly none.

        start: the number of the first of them, if the caller knows: InputError where it is not the next.
        """
        self._check(latents, start)
        pixels = self._run(self._decode, latents)
        self.taken += latents.shape[2]
        self.given += pixels.shape[1]
        return pixels

    def finish(self) -> torch.Tensor:
        """The frames held back, as `push` gives them; the decoder takes no more latents after."""
        if self._shape is None:
            raise InputError("no latents were decoded; push at least one latent frame before finish()")
        self._check_open()
        pixels = self._run(self._rest)
        self._closed = "has finished"
        self.given += pixels.shape[1]
        return pixels

    def warm(self, latents: torch.Tensor, position: int) -> None:
        """Stand where a decoder stands that took all latents before `position`.

        latents: the last min(position, `context`) of these, or more; only for a decoder that took none.
        """
        needed = min(position, self.context)
        self._check_new()
        if position < 1 or not needed <= latents.shape[2] <= position:
            raise InputError(
                f"{latents.shape[2]} latents cannot warm a decoder at {position}; give the {needed} before it"
            )
        self._check(latents, None)
        self.given = self._run(self._warm, latents[:, :, latents.shape[2] - needed :], position)
        self.taken = position

    def state(self) -> dict[str, torch.Tensor]:
        """All that `load_state` of a new decoder of the same model needs to go on, as tensors by name."""
        self._check_open()
        return {_COUNTS: torch.tensor([self.taken, self.given, *(self._shape or ())]), **self._tensors()}

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from a `state`. ResumeError where it is another model's."""
        self._check_new()
        if _COUNTS not in state:
            raise ResumeError(f"no decoder's state: it has no {_COUNTS!r}; decode again from the journal's latents")
        taken, given, *shape = (int(n) for n in state[_COUNTS])
        self._load({name: tensor for name, tensor in state.items() if name != _COUNTS}, tuple(shape))
        self.taken, self.given, self._shape = taken, given, tuple(shape) or None

    def _check(self, latents: torch.Tensor, start: int | None) -> None:
        self._check_open()
        if latents.ndim != 5 or latents.shape[0] != 1 or 0 in latents.shape:
            raise InputError(
                f"latents {list(latents.shape)} cannot be decoded in a stream; it takes [1, channel, frame, height, width]"
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
            raise InputError(f"this decoder {self._closed}; ask the backbone for a new one")

    def _check_new(self) -> None:
        self._check_open()
        if self.taken:
            raise InputError(f"this decoder took {self.taken} latents; ask the backbone for a new one")

    def _run(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Do it without gradients; where it fails, or is interrupted, the state is half old and half new and not used
        again."""
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

    @abstractmethod
    def _warm(self, latents: torch.Tensor, position: int) -> int:
        """Take the latents just before position; returns how many frames were given by then."""

    @abstractmethod
    def _tensors(self) -> dict[str, torch.Tensor]: ...

    @abstractmethod
    def _load(self, tensors: Mapping[str, torch.Tensor], shape: tuple[int, ...]) -> None:
        """Take what `_tensors` gave; shape: (c, h, w) of the latents, () where none were taken."""


class FramewiseDecoder(StreamDecoder):
    """For VAEs that know single frames. decode: `Backbone.decode`, which hands the VAE `group` frames a call; spatial:
    px a latent.

    A convolution's last bits hang on how many frames it is given at once, so frames go through in the same groups as in
    a whole decode and up to group - 1 latents wait for theirs.
    """

    def __init__(self, decode: Callable[[torch.Tensor], torch.Tensor], group: int, spatial: int) -> None:
        super().__init__()
        self._whole, self._group, self._spatial = decode, group, spatial
        self._waiting: torch.Tensor | None = None

    @property
    def context(self) -> int:
        return self._group - 1

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        ready = latents if self._waiting is None else torch.cat([self._waiting, latents], 2)
        count = ready.shape[2] // self._group * self._group
        self._waiting = ready[:, :, count:].clone()
        return self._whole(ready[:, :, :count]) if count else self._nothing(latents)

    def _rest(self) -> torch.Tensor:
        assert self._waiting is not None
        return self._whole(self._waiting) if self._waiting.shape[2] else self._nothing(self._waiting)

    def _nothing(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.empty((1, 0, *(self._spatial * side for side in latents.shape[3:]), 3), device=latents.device)

    def _warm(self, latents: torch.Tensor, position: int) -> int:
        waiting = position % self._group
        self._waiting = latents[:, :, latents.shape[2] - waiting :].clone()
        return position - waiting

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {} if self._waiting is None else {"waiting": self._waiting}

    def _load(self, tensors: Mapping[str, torch.Tensor], shape: tuple[int, ...]) -> None:
        if not set(tensors) <= {"waiting"}:
            raise ResumeError(
                f"this state has {', '.join(sorted(tensors))}, not what a frame-wise decoder keeps; it is another model's"
            )
        self._waiting = tensors.get("waiting")
