"""What each clip of a long video is told: its shots' prompts, latent frame by latent frame, each encoded once."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from videogen.backbones.base import Backbone, Blend, Conditioning
from videogen.timeline.latent_timeline import LatentTimeline

from .segments import Segment

_KEPT = 16  # encoded prompts in memory: a story may have any number


class StoryPrompts:
    """negative: the negative prompt; None without guidance."""

    def __init__(self, backbone: Backbone, shown: LatentTimeline, negative: str | None) -> None:
        self._backbone, self._shown, self._negative = backbone, shown, negative
        self._encoded = lru_cache(maxsize=_KEPT)(self._encode)

    def of(self, segment: Segment, finished: int = 0) -> Conditioning:
        """The conditioning of a segment's clips as one batch. finished: latent frames at their beginning that nothing is
        asked of."""
        weights = [self._weights(segment, span, finished) for span in segment.spans]
        ranked = [_ranked(w) for w in weights]
        rows = [[order[min(k, len(order) - 1)] for order in ranked] for k in range(max(map(len, ranked)))]
        first = [self._encoded(prompt) for prompt in rows[0]]
        negative = None if self._negative is None else torch.cat([text.negative for text in first])  # type: ignore[misc]
        blends = []
        for k, prompts in enumerate(rows[1:], 1):
            share = [
                w[:, p] if k < len(order) else 0 * w[:, p] for w, order, p in zip(weights, ranked, prompts, strict=True)
            ]
            positive = torch.cat([self._encoded(prompt).positive for prompt in prompts])
            blends.append(Blend(positive, torch.from_numpy(np.stack(share)).float()))
        return Conditioning(torch.cat([text.positive for text in first]), negative, tuple(blends))

    def _weights(self, segment: Segment, span: range, finished: int) -> np.ndarray:
        """[frames, prompts]; beyond the scene's end a clip goes on with what is last, and what is finished has what
        comes next."""
        last = segment.scene.video_latent(segment.scene.stop - 1)
        shown = [
            min(segment.scene.video_latent(latent), last) for latent in (*[span[finished]] * finished, *span[finished:])
        ]
        rows = self._shown.weights(min(shown), max(shown) + 1)
        return rows[[latent - min(shown) for latent in shown]]

    def _encode(self, prompt: int) -> Conditioning:
        negatives = None if self._negative is None else [self._negative]
        return self._backbone.encode_prompt([self._shown.prompts[prompt]], negatives)


def _ranked(weights: np.ndarray) -> list[int]:
    """The prompts that have a share of [frames, prompts], the greatest first."""
    total = weights.sum(0)
    return sorted((int(prompt) for prompt in np.flatnonzero(total)), key=lambda prompt: (-total[prompt], prompt))
