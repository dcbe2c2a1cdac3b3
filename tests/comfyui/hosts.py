"""What a test needs of a host: a MODEL, its sampling, and the pack's nodes, on the double and on the real ComfyUI.

`tests/comfyui/conftest.py` gives tests one of them as the fixture `comfy`.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch

from tests.comfyui import double


class Host(Protocol):
    """The double or the real ComfyUI."""

    #: noise [b, c, f, h, w] of a size at which a few steps take a second, and of a larger one, for sparse attention
    noise: torch.Tensor
    long_noise: torch.Tensor
    #: settings of sparse attention with which the larger one becomes sparse
    sparse: dict[str, Any]

    def model(self) -> Any:
        """A MODEL of its own. All have the same weights."""

    def sigmas(self, steps: int) -> torch.Tensor:
        """Noise levels [steps + 1] from 1 to 0."""

    def sample(
        self,
        model: Any,
        sampler: str = "euler",
        *,
        sigmas: torch.Tensor | None = None,
        steps: int = 3,
        noise: torch.Tensor | None = None,
        latent: torch.Tensor | None = None,
        noise_mask: torch.Tensor | None = None,
        batched: bool = True,
        interrupted: bool = False,
    ) -> torch.Tensor:
        """Latents of one run with two guidance branches, in one batch or in two calls. noise: None for `self.noise`;
        latent: what the noise is added to;
        noise_mask: 0 where that is held; interrupted: the sampler raises KeyboardInterrupt after the first step."""

    def count_calls(self, model: Any) -> list[int]:
        """A list that gets the batch of every call of the denoiser from now on."""

    def load_nodes(self, module: str) -> Any:
        """A file of `videogen/comfyui/nodes/`."""


def draw(shape: tuple[int, ...], seed: int = 1) -> torch.Tensor:
    """Standard normal noise."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Double:
    """The host of unit tests."""

    def __init__(self, monkeypatch: Any) -> None:
        self.noise = draw((1, 4, 3, 8, 8))
        # frames that resemble each other, as weights at random find nothing else to attend to
        self.long_noise = draw((1, 4, 1, 16, 32)) + 0.1 * draw((1, 4, 6, 16, 32), seed=2)
        self._monkeypatch = monkeypatch
        self.sparse: dict[str, Any] = {"min_length": 128, "query_block": 32, "key_block": 32}

    def model(self) -> double.Model:
        return double.Model()

    def sigmas(self, steps: int) -> torch.Tensor:
        return torch.linspace(1, 0, steps + 1)

    def sample(
        self, model: Any, sampler: str = "euler", *, sigmas: Any = None, steps: int = 3, noise: Any = None,
        latent: Any = None, noise_mask: Any = None, batched: bool = True, interrupted: bool = False,
    ) -> torch.Tensor:  # fmt: skip
        sigmas = self.sigmas(steps) if sigmas is None else sigmas
        noise = self.noise if noise is None else noise
        chosen = double.Interrupted(sampler) if interrupted else double.Sampler(sampler)
        found: torch.Tensor = double.Guider(model, batched=batched).sample(chosen, sigmas, noise, latent, noise_mask)
        return found

    def count_calls(self, model: Any) -> list[int]:
        return count_calls_of(model.model.diffusion_model.embed)

    def load_nodes(self, module: str) -> Any:
        return double.load_nodes(self._monkeypatch, module)


def count_calls_of(module: torch.nn.Module) -> list[int]:
    """A list that gets the batch of every call of a module from now on."""
    calls: list[int] = []
    module.register_forward_hook(lambda _, args, __: calls.append(int(args[0].shape[0])))
    return calls
