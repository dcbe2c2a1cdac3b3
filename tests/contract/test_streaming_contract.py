"""Streaming decode of each family equals its ordinary decode, bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.contract.families import VARIANTS
from videogen import Engine


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_stream_equals_one_decode(name: str, size: int, engine_of: Callable[[str], Engine]) -> None:
    backbone = engine_of(name).backbone
    frames = 33 if backbone.geometry.single_first else 20
    shape = backbone.geometry.shape(frames, 32, 48)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = backbone.decode(latents)
    decoder = backbone.stream_decoder()
    parts = [decoder.push(part) for part in latents.split(size, 2)]
    pixels = torch.cat([*parts, decoder.finish()], 1)
    assert torch.equal(pixels, expected) and (decoder.taken, decoder.given) == (shape[2], frames)
    assert pixels.shape == (1, frames, 32, 48, 3) and pixels.std() > 1e-3
