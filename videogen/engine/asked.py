"""The techniques that a request names, as objects for the loop."""

from __future__ import annotations

from videogen.propagation.caches import LibraryCache

from .attention import SparseAttentionTechnique
from .library import LibraryCacheTechnique
from .propagation import PropagationTechnique
from .request import RenderRequest
from .techniques import Technique


def asked_for(request: RenderRequest, keep_frames: tuple[int, ...] = ()) -> list[Technique]:
    """Outermost first: attention must see every model call. keep_frames: latent frames that attention never leaves out."""
    sparse, propagation = request.sparse_attention(), request.propagation()
    found: list[Technique] = []
    if isinstance(propagation, LibraryCache):
        found.append(LibraryCacheTechnique(propagation, one_branch_a_call=request.guidance_mode == "sequential" or not request.guided))
    elif propagation is not None:
        found.append(PropagationTechnique(propagation, sparse))
    if sparse is not None:
        found.append(SparseAttentionTechnique(sparse, keep_frames))
    return found
