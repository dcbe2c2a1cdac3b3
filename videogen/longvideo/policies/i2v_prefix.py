"""First-frame prefix: a clip continues the last frame, given as its first. For models that take a first frame."""

from __future__ import annotations

import numpy as np
import torch

from videogen.backbones.base import Backbone
from videogen.techniques.fixed_latents import CleanPrefix

from .base import Prefix
from .chain import ClipChain


class FirstFramePrefix(ClipChain):
    """The last decoded frame is encoded as a latent of its own."""

    def prefix(self, backbone: Backbone, tail: torch.Tensor, last_frame: np.ndarray | None) -> Prefix | None:
        assert last_frame is not None
        latents = backbone.encode(torch.from_numpy(last_frame.copy())[None, None])
        return Prefix(CleanPrefix(latents), latents.shape[2])
