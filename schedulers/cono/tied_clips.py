"""Step of clips that are tied to each other, as functions of predictions: CoNo's mean regularisation, then the frames
that copy (2406.05082).

    noise = {SOURCE: noise_of_a, **permuted_noise(noise_of_a, plan)}          # the noise of B, M and D
    # while A is made: tails[step] = prediction[:, :, -plan.n1 :]
    # then B, M and D as one batch of three, in this order:
    prediction = tie_clips(prediction, plan.clips, step, {SOURCE: tails[step]})

Legend: [b, c, f, h, w]. Importing this module does not load torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from videogen.core.errors import InputError
from videogen.schedulers.levels import NoiseLevel

from .look_back import SOURCE, Clip, LookBack, replay
from .mean_regularisation import MeanRegularisation

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Regularised:
    """Mean regularisation of one step. level: the noise there; kind: of the prediction; latents: the model's input,
    shaped as the prediction; means: (prediction, input) of earlier clips, or their means over frames, by clip."""

    rule: MeanRegularisation
    level: NoiseLevel
    kind: str
    latents: torch.Tensor
    means: Mapping[str, tuple[torch.Tensor, torch.Tensor]]


def tie_clips(
    prediction: torch.Tensor,
    clips: Sequence[Clip],
    step: int,
    outputs: Mapping[str, torch.Tensor],
    regularised: Regularised | None = None,
) -> torch.Tensor:
    """`tied_predictions` as one batch [clips, c, f, h, w]."""
    import torch

    return torch.cat(tied_predictions(prediction, clips, step, outputs, regularised))


def tied_predictions(
    prediction: torch.Tensor,
    clips: Sequence[Clip],
    step: int,
    outputs: Mapping[str, torch.Tensor],
    regularised: Regularised | None = None,
) -> list[torch.Tensor]:
    """The guided predictions that the solver is given, [1, c, f, h, w] for each clip, in their memory layout.

    prediction: the model's [clips, c, f, h, w], one sample per clip, in their order. step: from 0. outputs: what the
    solver was given at this step for earlier clips, by name; of A the last n1 frames suffice. Each clip is regularised
    to its source's mean, then its copied frames take the prediction of theirs.
    Raises InputError for another number of samples.
    """
    if prediction.shape[0] != len(clips):
        raise InputError(
            f"a batch of {prediction.shape[0]} is not one sample for each of the clips {[clip.name for clip in clips]}"
        )
    own = list(prediction.split(1))
    if regularised is not None:
        own = _regularise(own, clips, regularised)
    found, replayed = dict(outputs), []
    for clip, one in zip(clips, own, strict=True):
        found[clip.name] = replay(one, clip, found, step)
        replayed.append(found[clip.name])
    return replayed


def _regularise(own: Sequence[torch.Tensor], clips: Sequence[Clip], given: Regularised) -> list[torch.Tensor]:
    means, found = dict(given.means), []
    for clip, prediction, latents in zip(clips, own, given.latents.split(1), strict=True):
        if clip.mean_source in means:
            mean, input_mean = means[clip.mean_source]
            prediction = given.rule.apply(prediction, mean, given.level, given.kind, latents, input_mean)
        means[clip.name] = prediction, latents
        found.append(prediction)
    return found


def permuted_noise(noise: torch.Tensor, plan: LookBack) -> dict[str, torch.Tensor]:
    """The noise of B, M and D, by name, from that of A [b, c, f, h, w]: the same values in another order of frames.

    InputError for another number of frames than the plan's.
    """
    if noise.shape[2] != plan.frames:
        raise InputError(f"noise of {noise.shape[2]} frames is not that of clips of {plan.frames}")
    found = {SOURCE: noise}
    for clip in plan.clips:
        found[clip.name] = found[clip.noise_source][:, :, list(clip.order)]
    return {clip.name: found[clip.name] for clip in plan.clips}
