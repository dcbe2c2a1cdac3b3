"""The techniques that a request names, as objects for the loop."""

from __future__ import annotations

from dataclasses import replace

from videogen.propagation.caches import LibraryCache
from videogen.request.resolved import ResolvedRequest
from videogen.sampling.technique import Technique

from .feature_cache import LibraryCacheTechnique
from .propagation import PropagationTechnique
from .sparse_attention import SparseAttentionTechnique


def asked_for(
    request: ResolvedRequest, keep_frames: tuple[int, ...] = (), *, frames_apart: bool = False
) -> list[Technique]:
    """Outermost first: attention must see every model call. keep_frames: latent frames that attention never leaves out.

    frames_apart: frames have timesteps of their own, which are told step by step: no step is decoded in another one's
    call.
    """
    sparse, propagation = request.attention, request.propagation
    found: list[Technique] = []
    if isinstance(propagation, LibraryCache):
        found.append(
            LibraryCacheTechnique(
                propagation, one_branch_per_call=request.guidance_mode == "sequential" or not request.guided
            )
        )
    elif propagation is not None:
        alone = replace(propagation, micro_batch=1) if frames_apart else propagation
        found.append(PropagationTechnique(alone, sparse))
    if sparse is not None:
        found.append(SparseAttentionTechnique(sparse, keep_frames))
    return found
