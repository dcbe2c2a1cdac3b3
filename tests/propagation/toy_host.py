"""A host without any library: a denoiser of a few blocks, of which some write into their input, and an Euler loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch

from videogen.propagation import BlockCut, PropagationRun

BLOCKS, CHANNELS, HIDDEN = 6, 4, 16
BRANCHES = ("uncond", "cond")
GUIDANCE = 3.0
_GENERATOR = torch.Generator().manual_seed(0)
_WEIGHTS = [0.3 * torch.randn(HIDDEN, HIDDEN, generator=_GENERATOR) for _ in range(BLOCKS)]
_ENDS = [torch.randn(CHANNELS, HIDDEN, generator=_GENERATOR) * 0.4 for _ in range(2)]
TEXT = {branch: torch.randn(HIDDEN, generator=_GENERATOR) for branch in BRANCHES}

#: (index, input streams, what runs the block) -> its output
Tap = Callable[[int, Sequence[torch.Tensor], Callable[[], torch.Tensor]], torch.Tensor]


def sigmas(steps: int = 12) -> list[float]:
    """Noise levels of a flow model [steps + 1], shifted towards noise."""
    fractions = [1 - step / steps for step in range(steps + 1)]
    return [3 * t / (1 + 2 * t) for t in fractions]


def start() -> torch.Tensor:
    return torch.randn(1, CHANNELS, 3, 6, 6, generator=torch.Generator().manual_seed(1))


@dataclass
class Denoiser:
    """A model of velocities. calls: how often each block ran; writes: whether the blocks write into their input."""

    writes: bool = False
    calls: list[int] = field(default_factory=lambda: [0] * BLOCKS)

    def __call__(self, x: torch.Tensor, sigma: float, text: torch.Tensor, tap: Tap | None = None) -> torch.Tensor:
        hidden = torch.einsum("bcfhw,cd->bfhwd", x, _ENDS[0]) + 0.3 * sigma
        for index in range(BLOCKS):

            def run(given: torch.Tensor = hidden, index: int = index) -> torch.Tensor:
                return self.block(index, given, text)

            hidden = run() if tap is None else tap(index, (hidden,), run)
        return torch.einsum("bfhwd,cd->bcfhw", hidden, _ENDS[1])

    def block(self, index: int, hidden: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        self.calls[index] += 1
        change = 0.3 * torch.tanh(hidden @ _WEIGHTS[index] + text)
        return hidden.add_(change) if self.writes else hidden + change


@dataclass
class Host:
    """Gives the calls of the loop to a run, with a tap in place of each block where the run cuts between blocks."""

    run: PropagationRun
    model: Denoiser = field(default_factory=Denoiser)
    text: dict[str, torch.Tensor] = field(default_factory=lambda: dict(TEXT))

    def call(self, step: int, branch: str, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        cut = self.run.cut
        tap: Tap | None = (
            (lambda index, inputs, run: cut.tap(inputs, run, index)) if isinstance(cut, BlockCut) else None
        )
        text = self.text[branch]
        output: torch.Tensor = self.run.call(
            step, branch, latents, lambda: self.model(latents, sigma, text, tap), conditions={"text": text},
            guidance_scale=GUIDANCE,
        )  # fmt: skip
        return output


def sample(
    call: Callable[[int, str, torch.Tensor, float], torch.Tensor], levels: Sequence[float], writes: bool = False
) -> torch.Tensor:
    """Euler's method with guidance. writes: whether the loop writes into the latents and predictions."""
    latents = start()
    for step, (now, after) in enumerate(pairwise(levels)):
        negative, positive = (call(step, branch, latents, now) for branch in BRANCHES)
        guided = negative + GUIDANCE * (positive - negative)
        latents = latents + (after - now) * guided
        if writes:
            for tensor in (negative, positive):
                tensor.fill_(9.0)
    return latents


def sample_plain(levels: Sequence[float], model: Denoiser | None = None) -> torch.Tensor:
    model = model or Denoiser()
    return sample(lambda step, branch, latents, sigma: model(latents, sigma, TEXT[branch]), levels)
