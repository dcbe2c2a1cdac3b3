"""Prompts of a long video's segments: each clip's conditioning, per latent frame, every prompt encoded once."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from videogen.backbones.base import Backbone
from videogen.backbones.conditioning import Blend, ClipText, Conditioning, PromptTexts
from videogen.timeline.latent_timeline import LatentTimeline

from .segments import Segment

_CACHED = 16  # encoded prompts in memory: a story may have any number


class SegmentPrompts:
    """The conditioning of each segment. negative: the negative prompt; None without guidance."""

    def __init__(self, backbone: Backbone, timeline: LatentTimeline, negative: str | None) -> None:
        self._backbone, self._timeline, self._negative = backbone, timeline, negative
        self._encoded = lru_cache(maxsize=_CACHED)(self._encode)

    def conditioning(self, segment: Segment, finished: int = 0) -> ClipText:
        """The conditioning of a segment's clips as one batch.

        finished: how many of their first latent frames are given, so that no prompt of their own applies.
        """
        weights = [self._weights(segment, span, finished) for span in segment.spans]
        ranked = [_rank_prompts(w) for w in weights]
        rows = [[order[min(k, len(order) - 1)] for order in ranked] for k in range(max(map(len, ranked)))]
        if self._backbone.capabilities.own_guidance:
            return self._prompt_texts(rows, weights, ranked)
        first = [self._encoded(prompt) for prompt in rows[0]]
        negatives = [text.negative for text in first if text.negative is not None]
        blends = []
        for k, prompts in enumerate(rows[1:], 1):
            positive = torch.cat([self._encoded(prompt).positive for prompt in prompts])
            blends.append(Blend(positive, _weights_of(k, prompts, weights, ranked)))
        negative = torch.cat(negatives) if negatives else None
        return Conditioning(torch.cat([text.positive for text in first]), negative, tuple(blends))

    def _prompt_texts(self, rows: list[list[int]], weights: list[np.ndarray], ranked: list[list[int]]) -> ClipText:
        """For a model whose pipeline encodes prompts."""
        negatives = None if self._negative is None else [self._negative] * len(rows[0])
        texts = [tuple(self._timeline.prompts[prompt] for prompt in prompts) for prompts in rows]
        found = self._backbone.condition(texts[0], negatives)
        assert isinstance(found, PromptTexts)
        blends = [(texts[k], _weights_of(k, rows[k], weights, ranked)) for k in range(1, len(rows))]
        return replace(found, blends=tuple(blends))

    def _weights(self, segment: Segment, span: range, finished: int) -> np.ndarray:
        """Prompt weights [frames, prompts]. Beyond the scene's end the last prompt continues; given frames have the
        prompt of what follows them."""
        last = segment.scene.video_latent(segment.scene.stop - 1)
        own = (*[span[finished]] * finished, *span[finished:])
        latents = [min(segment.scene.video_latent(latent), last) for latent in own]
        rows = self._timeline.weights(min(latents), max(latents) + 1)
        return rows[[latent - min(latents) for latent in latents]]

    def _encode(self, prompt: int) -> Conditioning:
        negatives = None if self._negative is None else [self._negative]
        text = self._backbone.condition([self._timeline.prompts[prompt]], negatives)
        assert isinstance(text, Conditioning)
        return text


def _weights_of(k: int, prompts: list[int], weights: list[np.ndarray], ranked: list[list[int]]) -> torch.Tensor:
    """Weights [clip, frame] of the k-th prompt of each clip; 0 where a clip has fewer."""
    found = [w[:, p] if k < len(order) else 0 * w[:, p] for w, order, p in zip(weights, ranked, prompts, strict=True)]
    return torch.from_numpy(np.stack(found)).float()


def _rank_prompts(weights: np.ndarray) -> list[int]:
    """The prompts that have a weight in [frames, prompts], the largest total first."""
    total = weights.sum(0)
    return sorted((int(prompt) for prompt in np.flatnonzero(total)), key=lambda prompt: (-total[prompt], prompt))
