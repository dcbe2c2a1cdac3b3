"""Techniques of a request, as objects for the denoising loop."""

from __future__ import annotations

from dataclasses import replace

from videogen.propagation.caches import LibraryCache
from videogen.request.resolved import ResolvedRequest
from videogen.sampling.technique import Technique

from .feature_cache import LibraryCacheTechnique
from .propagation import PropagationTechnique
from .sparse_attention import SparseAttentionTechnique


def build_techniques(
    request: ResolvedRequest, visible_frames: tuple[int, ...] = (), *, per_frame_timesteps: bool = False
) -> list[Technique]:
    """The techniques of a request, outermost first: attention must see every model call.

    visible_frames: latent frames that every query attends to. per_frame_timesteps: frames have separate timesteps at
    each step, so that propagation does not batch several steps into one model call.
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
        single = replace(propagation, micro_batch=1) if per_frame_timesteps else propagation
        found.append(PropagationTechnique(single, sparse))
    if sparse is not None:
        found.append(SparseAttentionTechnique(sparse, visible_frames))
    return found
