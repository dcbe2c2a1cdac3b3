"""Noise streams for videos of any length: noise is a pure function of (seed, latent frame of the video), independent of
segments.

    stream = noise_stream("freenoise", seed=3, window=16, stride=4)
    stream.frames(range(100, 116), shape)       # [1, channels, 16, height, width]
    stream.window(range(100, 116))              # the same 16 frames as one clip's `NoiseSource`

Every frame of every stream is standard normal. `iid` is `AddressedNoise`; `freenoise` repeats a window's noise in a new
order (2310.15169); `cono` permutes a clip's noise from extension to extension (`cono.noise`); `warped` follows a
motion. Each frame has a source. Frames that are generated twice (replayed frames) have the same source, and the draws
of a stochastic solver are addressed by the source, never by the position of the frame in a segment.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from videogen.core.checks import at_least
from videogen.core.errors import InputError, unknown
from videogen.core.randomness import address, normal
from videogen.schedulers.warping.warped_noise import WarpedNoise

if TYPE_CHECKING:
    import torch


class NoiseStream(ABC):
    """Base of the streams, and a `NoiseSource` for the entire video. A subclass defines the noise of each source
    (`_noise`)."""

    #: whether sources have nothing to do with each other, so that any number is a source
    is_independent = False

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._attempts: dict[int, int] = {}

    def noise(self, source: int, shape: Sequence[int]) -> torch.Tensor:
        """Standard normal noise [channels, height, width] in fp32 on the CPU, for a number returned by `source`."""
        attempt = self._attempts.get(source)
        return (
            self._noise(source, shape)
            if attempt is None
            else normal(address(self.seed, f"attempt {attempt}", source), shape)
        )

    def redraw(self, sources: Iterable[int], attempt: int) -> None:
        """Give these sources independent noise and solver noise, specific to an attempt; attempt 0 restores the
        original."""
        for source in sources:
            self._attempts.pop(source, None)
            if attempt:
                self._attempts[source] = attempt

    def solver_seed(self, source: int, step: int) -> int:
        """Seed of a stochastic solver's generator, for a source at a step."""
        attempt = self._attempts.get(source)
        return address(self.seed, "solver" if attempt is None else f"solver, attempt {attempt}", source, step)

    @abstractmethod
    def _noise(self, source: int, shape: Sequence[int]) -> torch.Tensor:
        """As `noise`, for sources that were not redrawn."""

    def source(self, frame: int) -> int:
        """The number that represents a latent frame of the video (counted from 0) in addresses."""
        return at_least("frame", frame, 0)

    def window(self, frames: Iterable[int]) -> NoiseWindow:
        """These latent frames of the video as one clip, whose frames count from 0."""
        return NoiseWindow(self, tuple(self.source(frame) for frame in frames))

    def frames(self, indices: Sequence[int], shape: Sequence[int]) -> torch.Tensor:
        """Noise [1, channels, len(indices), height, width] of latent frames of the video; shape: (channels, height,
        width)."""
        return self.window(indices).frames(range(len(indices)), shape)

    def generators(self, step: int, frames: int) -> list[torch.Generator]:
        """Generators for the first frames of the video; use `window(...).generators` for others."""
        return self.window(range(frames)).generators(step, frames)


@dataclass(frozen=True)
class NoiseWindow:
    """Some of a stream's sources as one clip: a `NoiseSource`."""

    stream: NoiseStream
    sources: tuple[int, ...]

    def frames(self, indices: Sequence[int], shape: Sequence[int]) -> torch.Tensor:
        import torch

        return torch.stack([self.stream.noise(self._at(index), shape) for index in indices], 1)[None]

    def generators(self, step: int, frames: int) -> list[torch.Generator]:
        import torch

        seeds = [self.stream.solver_seed(self._at(index), step) for index in range(frames)]
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    def _at(self, index: int) -> int:
        if not 0 <= index < len(self.sources):
            raise InputError(
                f"frame {index} is outside this window's {len(self.sources)} frames; use a longer window of the stream"
            )
        return self.sources[index]


class IidNoise(NoiseStream):
    """`AddressedNoise`, bit for bit: independent frames."""

    is_independent = True

    def _noise(self, source: int, shape: Sequence[int]) -> torch.Tensor:
        return normal(address(self.seed, "initial", source), shape)


class FreeNoise(NoiseStream):
    """FreeNoise's noise rescheduling (2310.15169): later frames repeat the noise of `window` frames before, shuffled in
    blocks of `stride` frames.

    For every s, the frames from s * stride to s * stride + window have each noise of the first window exactly once, so
    windows at these positions have the noise statistics of a single clip. Solver noise is not repeated.
    """

    def __init__(self, seed: int, window: int = 16, stride: int = 4) -> None:
        super().__init__(seed)
        self.size, self.stride = at_least("window", window, 1), at_least("stride", stride, 1)
        if stride > window:
            raise InputError(f"stride={stride} must be at most window={window}, the number of frames that are shuffled")

    def _noise(self, source: int, shape: Sequence[int]) -> torch.Tensor:
        return normal(address(self.seed, "initial", self.origin(source)), shape)

    def origin(self, frame: int) -> int:
        """The frame of the first window whose noise this frame repeats."""
        while frame >= self.size:
            block, slot = divmod(frame - self.size, self.stride)
            frame = block * self.stride + _shuffle(self.seed, block, self.stride)[slot]
        return frame


@lru_cache(maxsize=4096)
def _shuffle(seed: int, block: int, size: int) -> tuple[int, ...]:
    """An addressed permutation of 0 .. size - 1."""
    return tuple(sorted(range(size), key=lambda slot: address(seed, "freenoise", block * size + slot)))


class WarpedStream(NoiseStream):
    """`WarpedNoise` whose motion begins at latent frame `offset` of the video and continues across segments.

    Motions of several shots need different seeds, otherwise they start from the same noise.
    """

    def __init__(self, warped: WarpedNoise, offset: int = 0) -> None:
        super().__init__(warped.seed)
        self.warped, self.offset = warped, at_least("offset", offset, 0)

    def _noise(self, source: int, shape: Sequence[int]) -> torch.Tensor:
        local, frames = source - self.offset, self.warped.latent_frames
        if not 0 <= local < frames:
            raise InputError(
                f"latent frame {source} is outside the motion, which covers frames {self.offset} to "
                f"{self.offset + frames - 1}; "
                "use a longer motion, another offset or a shorter video"
            )
        return self.warped.frames([local], shape)[0, :, 0]


def _warped(seed: int, motion: object, offset: int = 0, **settings: Any) -> WarpedStream:
    return WarpedStream(WarpedNoise(motion, seed, **settings), offset)


def _cono(seed: int, frames: int, n1: int, n2: int, handover: int | None = None, refresh: float = 0.0) -> NoiseStream:
    from videogen.schedulers.cono.noise import ConoNoise

    return ConoNoise(seed, frames, n1, n2, handover, refresh)


STREAMS: dict[str, Callable[..., NoiseStream]] = {
    "iid": IidNoise,
    "freenoise": FreeNoise,
    "cono": _cono,
    "warped": _warped,
}


def noise_stream(name: str, seed: int = 0, **settings: Any) -> NoiseStream:
    """A stream by name. settings: of its class (`cono`: those of `LookBack.layout`, and refresh; `warped`: motion,
    offset and those of `WarpedNoise`). InputError for an unknown name or setting, which lists the known ones, and for a
    missing setting.
    """
    if name not in STREAMS:
        raise unknown("noise stream", name, STREAMS)
    needed, known = _settings(name)
    for setting in settings:
        if setting not in known:
            raise unknown(f"setting of noise stream {name!r}", setting, known or ["none"])
    missing = [setting for setting in needed if setting not in settings]
    if missing:
        raise InputError(f"noise stream {name!r} needs {', '.join(missing)}; it takes {', '.join(known)}")
    return STREAMS[name](seed, **settings)


def _settings(name: str) -> tuple[list[str], list[str]]:
    """(required settings, all settings), in order."""
    parameters = list(inspect.signature(STREAMS[name]).parameters.values())
    if parameters[-1].kind is inspect.Parameter.VAR_KEYWORD:
        parameters = parameters[:-1] + [
            p for p in inspect.signature(WarpedNoise).parameters.values() if p.default is not p.empty
        ]
    parameters = [p for p in parameters if p.name != "seed"]
    return [p.name for p in parameters if p.default is p.empty], [p.name for p in parameters]
