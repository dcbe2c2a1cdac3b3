"""Decoding of a scene whose segments have versions: frames in order, each from the chain that it was rendered after."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from videogen.backbones.streaming import FramewiseDecoder, StreamDecoder
from videogen.longvideo.scene_decoder import SceneDecoder
from videogen.longvideo.segment_versions import Chain

LENGTHS = (4, 3, 5, 2)


class SumDecoder(StreamDecoder):
    """Causal: each frame is the sum of all latents up to its own. One frame per latent."""

    def __init__(self) -> None:
        super().__init__()
        self._sums = [torch.zeros(())]

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        sums = latents.flatten().cumsum(0) + self._sums[0]
        self._sums[0] = sums[-1]
        return sums.view(1, -1, 1, 1, 1).expand(-1, -1, -1, -1, 3)

    def _rest(self) -> torch.Tensor:
        return torch.empty(1, 0, 1, 1, 3)


def decode_in_groups(latents: torch.Tensor) -> torch.Tensor:
    return latents.permute(0, 2, 3, 4, 1).expand(-1, -1, -1, -1, 3)


def latents_of(segment: int, version: int) -> torch.Tensor:
    values = torch.arange(LENGTHS[segment]) + 100 * version + 10 * segment
    return values.float().view(1, 1, -1, 1, 1)


def decode(make: Callable[[], StreamDecoder], chain: Chain) -> torch.Tensor:
    """All frames of a chain in one go."""
    decoder = make()
    parts = [decoder.push(latents_of(segment, version)) for segment, version in enumerate(chain)]
    return torch.cat([*parts, decoder.finish()], 1)[..., 0].flatten()


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(SumDecoder, id="causal"),
        pytest.param(lambda: FramewiseDecoder(decode_in_groups, 3, 1), id="frames held back for their group"),
        pytest.param(lambda: FramewiseDecoder(decode_in_groups, 50, 1), id="all frames held back"),
    ],
)
@pytest.mark.parametrize(
    "chains",
    [
        pytest.param([(0,), (0, 0), (0, 0, 0), (0, 0, 0, 0)], id="as first rendered"),
        pytest.param([(0,), (0, 1), (0, 0, 0), (0, 0, 0, 0)], id="one regenerated"),
        pytest.param([(2,), (0, 0), (0, 0, 0), (0, 0, 0, 0)], id="the first one"),
        pytest.param([(0,), (0, 0), (0, 0, 0), (0, 0, 0, 3)], id="the last one"),
        pytest.param([(0,), (0, 1), (0, 1, 1), (0, 0, 0, 0)], id="one after another"),
        pytest.param([(0,), (0, 2), (0, 1, 1), (0, 0, 0, 0)], id="and the first of these again"),
        pytest.param([(0,), (0, 1), (0, 1, 0), (0, 1, 0, 0)], id="later ones rendered after it"),
    ],
)
def test_each_segment_has_the_frames_of_its_chain(make: Callable[[], StreamDecoder], chains: list[Chain]) -> None:
    ends = [sum(LENGTHS[: number + 1]) for number in range(len(LENGTHS))]
    scene = SceneDecoder(make(), chains, ends)
    found = [
        scene.push(lambda version, segment=segment: latents_of(segment, version))  # type: ignore[misc]
        for segment in range(len(LENGTHS))
    ]
    pixels = torch.cat([part[..., 0].flatten() for part in (*found, scene.finish()) if part is not None])
    for (start, stop), (number, chain) in zip(pairwise([0, *ends]), enumerate(chains), strict=True):
        full = (*chain, *(0 for _ in range(number + 1, len(LENGTHS))))
        assert torch.equal(pixels[start:stop], decode(make, full)[start:stop]), number
    assert len(pixels) == ends[-1]
