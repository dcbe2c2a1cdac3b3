"""Buffered decoder: holds the latents of a clip and decodes them at its end, for VAEs that need an entire clip."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..streaming import StreamDecoder


class BufferedDecoder(StreamDecoder):
    """decode: latents [1, c, f, h, w] to pixels [1, frames, h, w, 3]; spatial: px per latent. Memory grows with the
    length of the clip."""

    def __init__(self, decode: Callable[[torch.Tensor], torch.Tensor], spatial: int) -> None:
        super().__init__()
        self._decode_clip, self._spatial = decode, spatial
        self._held: list[torch.Tensor] = []

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        self._held.append(latents.clone())
        return torch.empty((1, 0, *(self._spatial * side for side in latents.shape[3:]), 3), device=latents.device)

    def _rest(self) -> torch.Tensor:
        latents, self._held = torch.cat(self._held, 2), []
        return self._decode_clip(latents)
