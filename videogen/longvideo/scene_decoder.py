"""Decoder of one scene whose segments may have several versions: the current frames in order, each from its own chain.

A chain is decoded by a stream decoder of its own from the segment on at which it differs from the others; until then
they share one. A scene of which nothing was regenerated has one chain, and one decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from videogen.backbones.streaming import StreamDecoder

from .segment_versions import Chain


@dataclass
class _CurrentSegment:
    """The frames of a segment as it is current: start to stop of the scene's. decoded: those that were decoded."""

    chain: Chain
    start: int
    stop: int
    decoded: list[torch.Tensor] = field(default_factory=list)

    @property
    def next_frame(self) -> int:
        return self.start + sum(pixels.shape[1] for pixels in self.decoded)


class SceneDecoder:
    """decoder: a new one; chains: of each segment as it is current, itself included; ends: the scene's frame with which
    each segment ends."""

    def __init__(self, decoder: StreamDecoder, chains: Sequence[Chain], ends: Sequence[int]) -> None:
        self._decoders: dict[Chain, StreamDecoder] = {(): decoder}
        self._chains = list(chains)
        self._current = [
            _CurrentSegment(chain, start, stop)
            for chain, start, stop in zip(chains, (0, *ends[:-1]), ends, strict=True)
        ]

    def push(self, latents: Callable[[int], torch.Tensor]) -> torch.Tensor | None:
        """The current frames that are final with the next segment, [1, frames, h, w, 3]; None: there are none yet.

        latents: of a version of that segment, on the decoder's device.
        """
        decoders: dict[Chain, StreamDecoder] = {}
        for before, decoder in self._decoders.items():
            continued = self._continued(before)
            for chain in continued:
                own = decoder if chain == continued[-1] else decoder.fork()
                start = own.given
                self._collect(chain, start, own.push(latents(chain[-1])))
                decoders[chain] = own
        for chain in [chain for chain in decoders if len(chain) < len(self._chains) and not self._continued(chain)]:
            self._finish(chain, decoders.pop(chain))
        self._decoders = decoders
        return self._ready()

    def finish(self) -> torch.Tensor | None:
        """The frames that were held back."""
        for chain, decoder in self._decoders.items():
            self._finish(chain, decoder)
        return self._ready()

    def _continued(self, before: Chain) -> list[Chain]:
        """The chains that continue another by one segment."""
        depth = len(before)
        return sorted({chain[: depth + 1] for chain in self._chains if len(chain) > depth and chain[:depth] == before})

    def _finish(self, chain: Chain, decoder: StreamDecoder) -> None:
        start = decoder.given
        self._collect(chain, start, decoder.finish())

    def _collect(self, chain: Chain, start: int, pixels: torch.Tensor) -> None:
        """Add frames of a chain, from the scene's frame `start` on, to the segments that show them."""
        stop = start + pixels.shape[1]
        for current in self._current:
            first, last = current.next_frame, min(stop, current.stop)
            if chain[: len(current.chain)] == current.chain and start <= first < last:
                current.decoded.append(pixels[:, first - start : last - start])

    def _ready(self) -> torch.Tensor | None:
        """The next frames in the scene's order, as far as they were decoded."""
        found: list[torch.Tensor] = []
        while self._current:
            current = self._current[0]
            current.start, taken = current.next_frame, current.decoded
            current.decoded = []
            found += taken
            if current.start < current.stop:
                break
            self._current.pop(0)
        return torch.cat(found, 1) if found else None
