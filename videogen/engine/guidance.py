"""Classifier-free guidance (Ho & Salimans 2022): `uncond + scale * (cond - uncond)`, in one batch or in two calls."""

from __future__ import annotations

from collections.abc import Callable

import torch

from videogen.backbones.base import Conditioning

#: (latents, text embeddings, branch name) -> prediction
Evaluate = Callable[[torch.Tensor, torch.Tensor, str], torch.Tensor]


def guided(evaluate: Evaluate, latents: torch.Tensor, text: Conditioning, scale: float, mode: str) -> torch.Tensor:
    """The guided prediction for `latents`; `mode` is `batched` or `sequential`. Without a negative, one plain call."""
    if text.negative is None:
        return evaluate(latents, text.positive, "cond")
    if mode == "batched":
        both = evaluate(torch.cat([latents] * 2), torch.cat([text.negative, text.positive]), "uncond+cond")
        negative, positive = both.chunk(2)
    else:
        positive = evaluate(latents, text.positive, "cond")
        negative = evaluate(latents, text.negative, "uncond")
    return negative + scale * (positive - negative)
