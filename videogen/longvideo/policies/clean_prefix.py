"""Clean latent prefix: a clip continues the last latents, given without noise (Diffusion Forcing, 2407.01392).

For models trained with a timestep per frame: the given frames have timestep 0.
"""

from __future__ import annotations

import numpy as np
import torch

from videogen.backbones.base import Backbone
from videogen.techniques.fixed_latents import CleanPrefix

from .base import Prefix
from .chain import ClipChain


class CleanLatentPrefix(ClipChain):
    """The overlap is given as latents: nothing is decoded and encoded again."""

    def prefix(self, backbone: Backbone, tail: torch.Tensor, last_frame: np.ndarray | None) -> Prefix | None:
        latents = tail[:, :, -self.overlap :]
        return Prefix(CleanPrefix(latents), latents.shape[2])
