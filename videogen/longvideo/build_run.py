"""The run of a resolved long request: segments joined in latent space, or clips that begin with an image."""

from __future__ import annotations

from typing import Any

from videogen.backbones.base import Backbone
from videogen.request.image_chain import is_image_chain
from videogen.request.resolved import ResolvedRequest
from videogen.sampling.progress import ProgressCallback

from .image_chain_run import ImageChainRun
from .run import LongRun


def build_run(
    backbone: Backbone,
    request: ResolvedRequest,
    progress: ProgressCallback | None,
    trial: dict[str, Any] | None = None,
) -> LongRun | ImageChainRun:
    """trial: what the trial of a measured policy found."""
    if is_image_chain(request):
        return ImageChainRun(backbone, request, progress)
    return LongRun(backbone, request, progress, trial)
