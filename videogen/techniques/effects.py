"""Techniques that do nothing in a run: why, before it from the request, and after it from the reports.

A technique that is requested and has no effect is not an error, but it is said in one line and in the manifest
(`measured.no_effect`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from videogen.backbones.base import Backbone
from videogen.backbones.lora.embeddings import read_token
from videogen.propagation.config import StepCaching
from videogen.request.resolved import ResolvedRequest

#: max_error * steps^2 at which an error budget leaves hardly a step to skip, since the safety factor
#: (`propagation.calibration`) grows with the square of the steps' distance. On both embedded models, 18 of 20 or more
#: steps are evaluated up to 20, and 15 of 20 or fewer from 25 on.
_LEAST_BUDGET = 20


def expected_no_effect(request: ResolvedRequest, backbone: Backbone) -> dict[str, str]:
    """Technique -> why it will do nothing, or next to nothing, as far as the request shows it."""
    found = {}
    if request.attention is not None:
        frames = request.window if request.is_long else request.generated_frames
        shape = backbone.geometry.shape(frames, request.height, request.width)
        tokens, least = backbone.token_grid(shape).length, request.attention.min_length
        if tokens < least:
            found["attention"] = f"a clip has {tokens:,} tokens, and attention stays dense below min_length={least:,}"
    caching = request.propagation
    budget = caching.max_error if isinstance(caching, StepCaching) else None
    if budget is not None and budget * request.steps**2 <= _LEAST_BUDGET:
        found["propagation"] = (
            f"max_error={budget:g} leaves hardly a step of {request.steps} to skip; use a larger error, more steps, or "
            "a fixed rule such as every:2"
        )
    if request.prompt.strip() and not backbone.takes_prompt:
        found["prompt"] = f"{request.model!r} reads none"
    if (request.options.get("true_cfg_scale") or 0) > 1 and not request.negative_prompt.strip():
        found["true_cfg_scale"] = "there is no negative prompt; set negative_prompt"
    shots = () if request.story is None else request.story.shots
    texts = [request.prompt, request.negative_prompt, *(shot.prompt for shot in shots)]
    for embedding in request.embeddings:
        token = read_token(embedding)
        if not any(token in text for text in texts):
            found[f"the embedding {embedding.name}"] = f"no prompt has its token {token!r}; write it where it belongs"
    return found


def measured_no_effect(measured: Mapping[str, Any]) -> dict[str, str]:
    """Technique -> why it did nothing, by its report in a manifest's `measured`."""
    found = {}
    attention, propagation = measured.get("attention"), measured.get("propagation")
    if attention and attention["mean_density"] == 1:
        dense = attention.get("dense")
        found["attention"] = "all calls ran dense" + (f": {', '.join(dense)}" if dense else "")
    if propagation and propagation.get("evaluated") == "{0} of {0} steps".format(propagation.get("steps")):
        found["propagation"] = f"all {propagation['steps']} steps were evaluated"
    return found


def with_effects(measured: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest's `measured`, with `no_effect` where a technique did nothing."""
    reasons = measured_no_effect(measured)
    return {**measured, "no_effect": reasons} if reasons else dict(measured)


def effect_notes(reasons: Mapping[str, str]) -> list[str]:
    """One line per technique that does nothing."""
    return [f"{name} has no effect here, because {reason}" for name, reason in reasons.items()]
