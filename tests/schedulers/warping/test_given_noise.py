"""Warped noise whose unwarped part is a host's own noise."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.schedulers.warping.test_warped_noise import OWN_METHODS, pan
from videogen.core.errors import InputError
from videogen.schedulers import AddressedNoise, GivenNoise, WarpedNoise, warped_noise


def host_noise() -> torch.Tensor:
    return torch.randn(1, 16, 2, 4, 6, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize("how", OWN_METHODS)
def test_strength_0_is_the_host_s_noise_bit_for_bit(how: dict) -> None:
    found = warped_noise(pan(3), seed=4, strength=0, plain=GivenNoise(host_noise()), **how)
    assert torch.equal(found, host_noise())


@pytest.mark.parametrize("how", OWN_METHODS)
def test_the_host_s_noise_is_what_is_not_warped(how: dict) -> None:
    source = WarpedNoise(pan(3), 4, strength=0.6, plain=GivenNoise(host_noise(), seed=5), **how)
    expected = 0.6 * warped_noise(pan(3), seed=4, **how) + 0.8 * host_noise()
    torch.testing.assert_close(source.frames(range(2), (16, 4, 6)), expected)
    assert torch.equal(source.frames([1], (16, 4, 6)), source.frames(range(2), (16, 4, 6))[:, :, 1:])
    drawn, addressed = ([torch.rand(2, generator=g) for g in s.generators(3, 2)] for s in (source, AddressedNoise(5)))
    assert all(map(torch.equal, drawn, addressed))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: GivenNoise(host_noise().expand(2, -1, -1, -1, -1)), "one clip of a batch"),
        (lambda: GivenNoise(host_noise()).frames([2], (16, 4, 6)), "are not in the given noise"),
        (lambda: GivenNoise(host_noise()).frames([0], (4, 4, 6)), "are not in the given noise"),
    ],
    ids=["a batch", "a frame beyond", "other channels"],
)
def test_given_noise_is_for_one_clip_of_its_shape(call: Callable[[], object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        call()
