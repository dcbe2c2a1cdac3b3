"""Warped noise: initial noise that moves along the target motion of the clip, for models trained with it
(Go-with-the-Flow, 2501.08331).

    warped_noise(flow)                          # [1, 16, latent frames, height / 8, width / 8]
    WarpedNoise(flow, seed=3, strength=0.7)     # the same as a noise source for the denoising loop

`strength` is the correlation with the fully warped noise; the rest is `plain`, by default `AddressedNoise` of the same
seed, so strength 0 is that noise bit for bit. With zero flow and strength 1, every latent frame has the noise of the
first. Each latent frame is a function of the motion and the seed only: segments and order change nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from videogen.core.checks import at_least
from videogen.core.errors import InputError, unknown
from videogen.schedulers.noise.source import AddressedNoise, NoiseSource

from .maps import as_flow, as_maps
from .mix import low_pass_mix, resolve_strength

if TYPE_CHECKING:
    import torch

METHODS = ("texture", "bipartite")


class WarpedNoise:
    """A `NoiseSource` whose initial noise follows a motion; stochastic solvers use the generators of `plain`.

    motion: flow [frames - 1, 2, height, width] (px, from each frame to the next), `FlowMaps` where backward flow is
    known too, or an object with `texture()` (exact maps) or `flow()`. An empty stack [0, 2, height, width] is a single
    image. spatial, temporal: pixels and frames per latent. causal: the first latent frame is a single image and each
    later one represents `temporal` frames, at its last; otherwise each represents `temporal` frames, at its first.
    method: "texture" (exact, each frame independently) or "bipartite" (Go-with-the-Flow's, from frame to frame); compat
    and oversample are options of the latter (see `bipartite`). strength: retained correlation, 0 to 1. degradation:
    Go-with-the-Flow's gamma instead, 0 (fully correlated) to 1. cutoff: experimental, for models not trained with
    warped noise: only wavelengths above 1 / cutoff latent pixels follow the motion, with a smooth transition (0.05 to
    0.5 cycles per latent pixel). device: where to compute. plain: the part that is not warped, such as a host's own
    noise (`GivenNoise`), and the generators; it must be independent of `seed`'s. Raises InputError for values out of
    range and for motions that do not fit.
    """

    def __init__(
        self,
        motion: object,
        seed: int = 0,
        *,
        spatial: int = 8,
        temporal: int = 4,
        causal: bool = True,
        method: str = "texture",
        strength: float = 1.0,
        degradation: float | None = None,
        cutoff: float | None = None,
        oversample: int = 1,
        compat: bool = False,
        device: str | torch.device = "cpu",
        plain: NoiseSource | None = None,
    ) -> None:
        import torch

        if method not in METHODS:
            raise unknown("noise warping method", method, METHODS)
        if method == "texture" and (compat or oversample != 1):
            raise InputError(
                f"oversample={oversample} and compat={compat} belong to method='bipartite'; leave them out or use it"
            )
        for name, value in (("spatial", spatial), ("temporal", temporal), ("oversample", oversample)):
            at_least(name, value, 1)
        self.maps = as_maps(motion) if method == "texture" else as_flow(motion)
        self.seed, self.spatial, self.temporal, self.causal, self.method = seed, spatial, temporal, causal, method
        self.strength = resolve_strength(strength, degradation)
        if cutoff is not None and not 0 < cutoff <= 1:
            raise InputError(f"cutoff={cutoff} must be above 0 and at most 1; leave it out to warp all wavelengths")
        self.cutoff = cutoff
        self.device = torch.device(device)
        self._plain: NoiseSource = AddressedNoise(seed) if plain is None else plain
        self._bipartite: Any = None
        self._settings = {"oversample": oversample, "compat": compat}
        for name, size in (("height", self.maps.height), ("width", self.maps.width)):
            _check_grid(name, size, spatial)
        self.latent_frames = latent_frames(self.maps.frames, temporal, causal)

    def frames(self, indices: Sequence[int], shape: Sequence[int]) -> torch.Tensor:
        """Noise [1, channels, len(indices), height, width] in fp32 on the CPU, as in `NoiseSource`."""
        return self.warped(indices, shape).cpu()

    def warped(self, indices: Sequence[int], shape: Sequence[int]) -> torch.Tensor:
        """The same, left on `device`. InputError for frames beyond the motion, or a shape that differs from the
        motion's."""
        import torch

        if tuple(shape[1:]) != (self.maps.height // self.spatial, self.maps.width // self.spatial):
            raise InputError(
                f"latents of {shape[1]} x {shape[2]} (height x width) need a motion of {shape[1] * self.spatial} x "
                f"{shape[2] * self.spatial} px; this one has {self.maps.height} x {self.maps.width}: resize its flow"
            )
        for index in indices:
            if not 0 <= index < self.latent_frames:
                raise InputError(
                    f"latent frame {index} is outside the motion: {self.maps.frames} frames give latent frames 0 to "
                    f"{self.latent_frames - 1}; use a longer motion or a shorter clip"
                )
        plain = self._plain.frames(indices, shape).to(self.device) if self.strength < 1 or self.cutoff else None
        if self.strength == 0 and plain is not None:
            return plain
        warped = torch.stack([self._frame(index, shape[0]) for index in indices], 1)[None]
        if self.cutoff is not None and plain is not None:
            return low_pass_mix(warped, plain, self.cutoff, self.strength)
        return warped if plain is None else self.strength * warped + math.sqrt(1 - self.strength**2) * plain

    def generators(self, step: int, frames: int) -> list[torch.Generator]:
        return self._plain.generators(step, frames)

    def _frame(self, index: int, channels: int) -> torch.Tensor:
        at = index * self.temporal
        if self.method == "texture":
            from .texture import texture_noise

            return texture_noise(
                self.maps, at, channels=channels, spatial=self.spatial, seed=self.seed, device=self.device
            )
        if self._bipartite is None or self._bipartite.channels != channels:
            from .bipartite import BipartiteNoise

            size: dict[str, Any] = {"channels": channels, "spatial": self.spatial, **self._settings}
            self._bipartite = BipartiteNoise(as_flow(self.maps), seed=self.seed, device=self.device, **size)
        return self._bipartite.frame(at)


def warped_noise(
    motion: object,
    channels: int = 16,
    spatial: int = 8,
    temporal: int = 4,
    seed: int = 0,
    method: str = "texture",
    *,
    dtype: torch.dtype | None = None,
    **settings: Any,
) -> torch.Tensor:
    """Noise [1, channels, latent frames, height / spatial, width / spatial] that follows a motion, on `device`.

    motion and settings (causal, strength, degradation, cutoff, oversample, compat, device, plain): see `WarpedNoise`.
    Computed in fp32; dtype: of the result. InputError as there, and for channels under 1.
    """
    at_least("channels", channels, 1)
    source = WarpedNoise(motion, seed, spatial=spatial, temporal=temporal, method=method, **settings)
    shape = (channels, source.maps.height // spatial, source.maps.width // spatial)
    noise = source.warped(range(source.latent_frames), shape)
    return noise if dtype is None else noise.to(dtype)


def latent_frames(frames: int, temporal: int, causal: bool = True) -> int:
    """Latent frames of a motion over `frames` frames. InputError where they do not fit, naming the nearest that do."""
    over = (frames - causal) % temporal
    if frames < 1 or over:
        below = frames - over
        near = f"{below} or {below + temporal}" if below > 0 else f"{temporal + causal}"
        layout = f"1 + a multiple of {temporal}" if causal else f"a multiple of {temporal}"
        raise InputError(
            f"a motion over {frames} frames (one more than its flows) does not fit the latents; use {near} frames, "
            f"{layout}"
        )
    return int(causal) + (frames - causal) // temporal


def _check_grid(name: str, size: int, spatial: int) -> None:
    if size % spatial:
        below = size - size % spatial
        near = f"{below} or {below + spatial}" if below else f"{spatial}"
        raise InputError(
            f"{name}={size} of the motion is not a multiple of {spatial}, the latents' spatial factor; use {near}"
        )
