"""Noise sources: the initial noise of a clip and the generators of stochastic solvers.

`AddressedNoise` is the default: every latent frame's noise is a pure function of (seed, stream, latent frame, step).
`DiffusersNoise` draws from one generator in the order of diffusers' pipelines, for conformance with them. `GivenNoise`
is noise that another program has drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from videogen.core.errors import InputError
from videogen.core.randomness import address, normal

if TYPE_CHECKING:
    import torch


class NoiseSource(Protocol):
    """Source of all randomness of the denoising loop. Each clip has its own."""

    def frames(self, indices: Sequence[int], shape: Sequence[int]) -> torch.Tensor:
        """Standard normal noise [1, channels, len(indices), height, width] in fp32 on the CPU.

        indices: latent frames, counted from the clip's first; shape: (channels, height, width).
        """
        ...

    def generators(self, step: int, frames: int) -> list[torch.Generator]:
        """CPU generators for a stochastic solver at this step: one per latent frame, or a single one for all frames."""
        ...


class AddressedNoise:
    """Noise by address: segments, order, resume and device never change it."""

    def __init__(self, seed: int, stream: str = "initial") -> None:
        self.seed, self.stream = seed, stream

    def frames(self, indices: Sequence[int], shape: Sequence[int]) -> torch.Tensor:
        import torch

        return torch.stack([normal(address(self.seed, self.stream, f), shape) for f in indices], 1)[None]

    def generators(self, step: int, frames: int) -> list[torch.Generator]:
        import torch

        return [torch.Generator().manual_seed(address(self.seed, "solver", f, step)) for f in range(frames)]


class DiffusersNoise:
    """One generator for the entire clip, consumed in the order of diffusers' pipelines."""

    def __init__(self, seed: int) -> None:
        import torch

        self._generator = torch.Generator().manual_seed(seed)

    def frames(self, indices: Sequence[int], shape: Sequence[int]) -> torch.Tensor:
        import torch

        channels, height, width = shape
        return torch.randn((1, channels, len(indices), height, width), generator=self._generator)

    def generators(self, step: int, frames: int) -> list[torch.Generator]:
        return [self._generator]


class GivenNoise:
    """Noise that a host has drawn for one clip, bit for bit. noise: [1, channels, frames, height, width], standard
    normal; seed: of the generators for stochastic solvers."""

    def __init__(self, noise: torch.Tensor, seed: int = 0) -> None:
        if noise.ndim != 5 or noise.shape[0] != 1:
            raise InputError(
                f"noise {list(noise.shape)} must be [1, channels, frames, height, width]; give one clip of a batch"
            )
        self._noise, self._addressed = noise, AddressedNoise(seed)

    def frames(self, indices: Sequence[int], shape: Sequence[int]) -> torch.Tensor:
        """The given noise of these frames. InputError for another shape, or frames that it does not have."""
        _, channels, frames, height, width = self._noise.shape
        if tuple(shape) != (channels, height, width) or not all(0 <= index < frames for index in indices):
            raise InputError(
                f"frames {list(indices)} of shape {list(shape)} are not in the given noise {list(self._noise.shape)}"
            )
        return self._noise[:, :, list(indices)]

    def generators(self, step: int, frames: int) -> list[torch.Generator]:
        return self._addressed.generators(step, frames)
