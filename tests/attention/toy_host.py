"""A host without any library: a few layers of attention over text, video and sound, and a loop of steps around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import scaled_dot_product_attention

from videogen.attention import AttentionRun, TokenGrid

GRID = TokenGrid(4, 7, 9)
TEXT, SOUND, HEADS, SIZE, LAYERS = 13, 6, 2, 20, 2  # no number of tokens is a multiple of a block's
LENGTH = TEXT + GRID.length + SOUND
BRANCHES = ("uncond", "cond")
STEPS = 5

#: (layer, query, key, value) -> the result of attention, all [b, h, l, d].
Attend = Callable[[str, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def start() -> torch.Tensor:
    """The tokens of all branches [b, l, h * d]: a frame resembles itself more than the others."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(GRID.frames, HEADS * SIZE, generator=generator).repeat_interleave(GRID.length // 4, 0)
    ends = [torch.randn(count, HEADS * SIZE, generator=generator) for count in (TEXT, SOUND)]
    tokens = torch.cat([ends[0], frames, ends[1]]).expand(len(BRANCHES), -1, -1)
    return tokens + 0.1 * torch.randn(tokens.shape, generator=generator)


def forward(tokens: torch.Tensor, attend: Attend) -> torch.Tensor:
    """One call of the model: tokens [b, l, h * d] in and out."""
    for layer in range(LAYERS):
        x = tokens.unflatten(2, (HEADS, SIZE)).transpose(1, 2)
        out = attend(f"layer {layer}", 3.0 * x, x, x * (layer + 1))
        tokens = tokens + 0.2 * out.transpose(1, 2).flatten(2)
    return tokens


def plain(_: str, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return scaled_dot_product_attention(query, key, value)


@dataclass
class Host:
    """Gives the calls of the loop to a run. dense_calls: how often its own kernel was called."""

    run: AttentionRun
    dense_calls: int = 0

    def call(self, tokens: torch.Tensor, branches: Sequence[str], step: int) -> torch.Tensor:
        def attend(layer: str, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            def dense(part: slice) -> torch.Tensor:
                self.dense_calls += 1
                return plain(layer, query[part], key[part], value[part])

            return self.run.attend_batch(
                layer, branches, step, GRID, query, key, value, dense, exact_tokens=(TEXT, SOUND)
            )

        return forward(tokens, attend)


@torch.no_grad()
def sample(call: Callable[[torch.Tensor, int], torch.Tensor], steps: Sequence[int] = range(STEPS)) -> torch.Tensor:
    """The loop: guidance of two branches, which then share their result."""
    tokens = start()
    for step in steps:
        negative, positive = call(tokens, step).chunk(2)
        guided = negative + 2.0 * (positive - negative)
        tokens = torch.lerp(tokens, guided / guided.std(), 0.2)
    return tokens


def sample_plain() -> torch.Tensor:
    return sample(lambda tokens, _: forward(tokens, plain))
