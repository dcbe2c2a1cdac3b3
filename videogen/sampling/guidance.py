"""Classifier-free guidance (Ho & Salimans 2022): `uncond + scale * (cond - uncond)`, in one batch or in two calls.

Where several prompts share a clip, cond is the mean of their predictions, frame by frame in their shares.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch

from videogen.backbones.base import Blend, Conditioning

#: (latents, text embeddings, branch name) -> prediction
Evaluate = Callable[[torch.Tensor, torch.Tensor, str], torch.Tensor]


def guided(evaluate: Evaluate, latents: torch.Tensor, text: Conditioning, scale: float, mode: str) -> torch.Tensor:
    """The guided prediction for `latents`; `mode` is `batched` or `sequential`. Without a negative, one plain call a
    prompt."""
    if text.negative is None:
        return _blended(evaluate, latents, text, evaluate(latents, text.positive, "cond"))
    if mode == "batched":
        both = evaluate(torch.cat([latents] * 2), torch.cat([text.negative, text.positive]), "uncond+cond")
        negative, positive = both.chunk(2)
    else:
        positive = evaluate(latents, text.positive, "cond")
        negative = evaluate(latents, text.negative, "uncond")
    return negative + scale * (_blended(evaluate, latents, text, positive) - negative)


def _blended(evaluate: Evaluate, latents: torch.Tensor, text: Conditioning, positive: torch.Tensor) -> torch.Tensor:
    def add(total: torch.Tensor, numbered: tuple[int, Blend]) -> torch.Tensor:
        number, blend = numbered
        share = blend.share.to(positive)[:, None, :, None, None]
        return total + share * (evaluate(latents, blend.positive, f"cond:{number}") - positive)

    return reduce(add, enumerate(text.blends, 1), positive)
