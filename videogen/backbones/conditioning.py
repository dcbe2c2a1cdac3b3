"""Text conditioning: encoded prompts, blends of several prompts per frame, and what a model reads of a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Blend:
    """A further prompt of a clip.

    positive [batch, tokens, width]; weight [batch, frames]: its weight in each latent frame's prediction, 0 to 1.
    """

    positive: torch.Tensor
    weight: torch.Tensor


@dataclass(frozen=True)
class Conditioning:
    """Encoded text: positive and negative [batch, tokens, width]; negative is None without guidance.

    blends: further prompts, each weighted per frame; the remaining weight is the positive's.
    """

    positive: torch.Tensor
    negative: torch.Tensor | None = None
    blends: tuple[Blend, ...] = ()

    def within(self, slots: slice) -> Conditioning:
        """For some of the clip's latent frames: the prompts that have a weight there, the largest total first."""
        if not self.blends:
            return self
        weights = [blend.weight[:, slots] for blend in self.blends]
        ranked = [
            (1 - torch.stack(weights).sum(0), self.positive),
            *zip(weights, (blend.positive for blend in self.blends), strict=True),
        ]
        ranked = sorted((pair for pair in ranked if bool((pair[0] > 0).any())), key=lambda pair: -float(pair[0].sum()))
        return Conditioning(ranked[0][1], self.negative, tuple(Blend(text, weight) for weight, text in ranked[1:]))

    @property
    def embeddings(self) -> tuple[torch.Tensor, ...]:
        """The encoded texts, to be checked."""
        return tuple(text for text in (self.positive, self.negative) if text is not None)


@dataclass(frozen=True)
class PromptTexts:
    """Prompts that a pipeline encodes itself, one per clip; negatives: as many, None without guidance.

    blends: further prompts, one per clip, with their weight in each latent frame [batch, frames]; the remaining weight
    is the first ones'.
    """

    prompts: tuple[str, ...]
    negatives: tuple[str, ...] | None = None
    blends: tuple[tuple[tuple[str, ...], torch.Tensor], ...] = ()

    @property
    def embeddings(self) -> tuple[torch.Tensor, ...]:
        return ()


#: What a clip shows, as its backbone's `condition` makes it.
ClipText = Conditioning | PromptTexts


@dataclass(frozen=True)
class PromptReading:
    """What a model reads of a prompt: its tokens, how many of them it reads (limit), and the words it does not know.

    normalised: the prompt in the form of the model's training captions, which is what it reads; None: as it was given.
    """

    tokens: int
    limit: int
    unknown: tuple[str, ...] = ()
    normalised: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for manifests; `normalised` only where the prompt was rewritten."""
        return {name: value for name, value in asdict(self).items() if name != "normalised" or value is not None}

    def notes(self, *, negative: bool = False) -> list[str]:
        """Warnings for the user; negative: about the negative prompt."""
        name, notes = "negative prompt" if negative else "prompt", []
        if self.normalised is not None:
            notes.append(f"the {name} is read as {self.normalised!r}, the form of the model's training captions")
        if self.tokens > self.limit:
            notes.append(
                f"the {name} is {self.tokens} tokens long and the model reads the first {self.limit}; the rest has no "
                "effect"
            )
        if self.unknown:
            listed = ", ".join(map(repr, self.unknown[:8])) + (", ..." if len(self.unknown) > 8 else "")
            notes.append(f"the model does not know {listed}" + (" of the negative prompt" if negative else ""))
        return notes


def negative_prompt_notes(measured: Mapping[str, Any]) -> list[str]:
    """The warnings about a negative prompt that a manifest's measurements hold."""
    reading = measured.get("negative_prompt")
    return [] if reading is None else PromptReading(**reading).notes(negative=True)
