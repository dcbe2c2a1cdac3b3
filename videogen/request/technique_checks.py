"""Checks of a request's techniques against what a model's pipeline allows, before anything is loaded. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from videogen.core.errors import UnsupportedError
from videogen.request.continuity import Continuity
from videogen.request.continuity_policies import FIRST_FRAME_POLICY, POLICIES

if TYPE_CHECKING:
    from videogen.backbones.resolvable import ResolvableModel

    from .resolved import ResolvedRequest


def check_techniques_fit(request: ResolvedRequest, backbone: ResolvableModel) -> None:
    """UnsupportedError, with the reason and what to do instead, for a technique that the model's pipeline rules out."""
    from videogen.propagation.caches import LibraryCache

    for technique in techniques_of(request):
        check_technique(technique, backbone, request.conditions.keys())
    if request.vae_tiling and not backbone.tiles_vae:
        raise UnsupportedError(f"vae_tiling: the VAE of {backbone.name!r} cannot decode in tiles; leave it out")
    changing = next((lora for lora in request.loras if not lora.is_constant), None)
    if changing is not None and isinstance(request.propagation, LibraryCache):
        raise UnsupportedError(
            f"propagate={str(request.propagation)!r} reuses features across the step at which the LoRA {changing.name} "
            "is switched; use propagate='every:2' or 'max_error:0.02', or the LoRA without @START-END"
        )


def check_technique(technique: str, backbone: ResolvableModel, given: tuple[str, ...] = ()) -> None:
    """The same for one technique, a key of `hosting.techniques_table.TECHNIQUES`; given: keys of conditions."""
    refusal = backbone.refusal(technique, given)
    if refusal is not None:
        raise UnsupportedError(f"{refusal.title} cannot run on {backbone.name!r}: {refusal.reason}; {refusal.instead}")


def techniques_of(request: ResolvedRequest) -> Iterator[str]:
    """Which techniques of that table a resolved request uses."""
    from videogen.propagation.config import StepCaching

    caching = request.propagation
    rolls_back = isinstance(caching, StepCaching) and caching.roll_back and caching.max_error is not None
    used = {
        "lora": bool(request.loras),
        "attention": request.attention is not None,
        "propagation": caching is not None,
        "roll_back": rolls_back,
    }
    yield from (name for name, is_used in used.items() if is_used)
    if request.motion is not None:
        yield request.motion.control.backend


def check_joined_clips(policy: Continuity | str, backbone: ResolvableModel, given: tuple[str, ...]) -> None:
    """The same for a policy by which clips are joined; given: keys of conditions."""
    name = policy.policy if isinstance(policy, Continuity) else policy
    if name == FIRST_FRAME_POLICY:
        check_technique(FIRST_FRAME_POLICY, backbone, given)
        return
    windows = name in POLICIES and "windows" in POLICIES[name].configurable
    check_technique("windows" if windows else "replay", backbone, given)
