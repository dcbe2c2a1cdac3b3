"""Noise-texture lookup: refined samples follow the motion, and the partition of the work does not change the
noise."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.schedulers.warping.test_warped_noise import Constant, Similar, affine, pan, rotation, wave
from videogen.core.randomness import address
from videogen.schedulers import warped_noise
from videogen.schedulers.warping import hash_noise
from videogen.schedulers.warping import lookup as warp_lookup
from videogen.schedulers.warping import seams as warp_seams
from videogen.schedulers.warping import texture as warp_texture
from videogen.schedulers.warping.hash_noise import HashField, mix
from videogen.schedulers.warping.lookup import Lookup, build_lookup
from videogen.schedulers.warping.view import TEXELS, View

CPU = torch.device("cpu")


class Halves:
    """The left half is near and scaled up; the right half is far away, on a separate plane."""

    frames, height, width = 2, 64, 64

    def texture(self, frame: int, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        left = x < 32
        return (~left).int() * 7, torch.where(left, x / 3, 1.9 * x + 500), torch.where(left, y / 3, 1.9 * y - 700)


MAPS = [
    pytest.param(Similar(0.55), id="zoom out"),
    pytest.param(Similar(0.9, 31, dx=0.3), id="zoom out and turn"),
    pytest.param(Similar(2.1), id="zoom in"),
    pytest.param(Halves(), id="two layers"),
    pytest.param(Constant(height=64, width=64), id="one point"),
]


@pytest.mark.parametrize("maps", MAPS)
@pytest.mark.parametrize("finer", [1, 2, 3])
def test_refined_samples_follow_the_motion(maps: Any, finer: int) -> None:
    view = View(maps, 1, 8, CPU)
    found = Lookup(view, finer)
    layer, x, y = view.samples(slice(None), finer)
    assert isinstance(layer, int) == (not isinstance(maps, Halves))
    column, row = view.place(torch.arange(len(x)), finer)
    exact, u, v = maps.texture(1, *((m + 0.5) / (TEXELS * finer) for m in (column, row)))
    same = ((u * TEXELS).floor() == x) & ((v * TEXELS).floor() == y) & (exact == layer)
    assert same.float().mean() > 0.99
    assert found.texel.numel() == len(x) == maps.height * maps.width * (TEXELS * finer) ** 2


@pytest.mark.parametrize("finer", [1, 2, 3])
def test_every_screen_position_has_one_sample_in_its_latent(finer: int) -> None:
    view = View(Similar(height=24, width=32), 1, 8, CPU)
    edge = 8 * TEXELS * finer
    column, row = view.place(torch.arange(3 * 4 * edge**2), finer)
    assert len(torch.unique(row * 4 * edge + column)) == 3 * 4 * edge**2
    latent = (row // edge * 4 + column // edge).view(-1, edge**2)
    assert torch.equal(latent, torch.arange(12).int()[:, None].expand(-1, edge**2))


@pytest.mark.parametrize(
    ("maps", "finer"),
    [
        pytest.param(Similar(dx=3.3), 1, id="a pan misses no texel"),
        pytest.param(Similar(1.7), 1, id="zooming in: several samples per texel"),
        pytest.param(Similar(0.98), 1, id="hardly any texel is missed"),
        pytest.param(Similar(0.8), 2, id="zooming out misses some texels"),
        pytest.param(Similar(0.4), 3, id="or more"),
        pytest.param(Similar(0.1), 4, id="or more than the maximum"),
        pytest.param(Similar(degrees=40), 2, id="turning leaves gaps"),
        pytest.param(Constant(), 1, id="one point is never missed"),
    ],
)
def test_samples_are_as_fine_as_the_texture_in_view(maps: Any, finer: int) -> None:
    assert build_lookup(View(maps, 1, 8, CPU)).finer == finer


@pytest.mark.parametrize("maps", MAPS)
def test_sharing_is_counted_exactly(maps: Any) -> None:
    found = build_lookup(View(maps, 1, 8, CPU))
    layer, x, y = found.view.samples(slice(None), found.finer)
    rows = torch.stack([x if isinstance(layer, torch.Tensor) else torch.full_like(x, layer), x, y], 1)
    rows[:, 0] = layer
    _, group, count = torch.unique(rows, dim=0, return_inverse=True, return_counts=True)
    latent = torch.arange(len(x)) // found.texel.shape[1]
    assert torch.equal(found.count[found.texel.flatten().long()], count[group].int())
    ends = [
        torch.zeros(len(count), dtype=torch.long).scatter_reduce(0, group, latent, how, include_self=False)
        for how in ("amin", "amax")
    ]
    assert torch.equal(found.straddling(), (ends[0] < ends[1])[group].nonzero()[:, 0])


FLOWS = [
    pytest.param(pan(1.3, -0.4, 5, 64, 64), id="pan"),
    pytest.param(affine(rotation(3, 1.1), 4, 64), id="zoom in and turn"),
    pytest.param(affine(rotation(3, 0.9), 4, 64), id="zoom out and turn"),
    pytest.param(affine([[0, 0], [0, 0]], 4, 64), id="one point"),
    pytest.param(wave(4, 64), id="wave"),
    pytest.param(3 * torch.randn(4, 2, 64, 64, generator=torch.Generator().manual_seed(0)), id="random"),
]


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        pytest.param(warp_lookup, "_DENSE", 0, id="sorted instead of numbered"),
        pytest.param(warp_lookup, "_PART", 300, id="latents in small parts"),
        pytest.param(warp_texture, "_BOXED", 0, id="each sample hashed"),
        pytest.param(warp_texture, "_BOXED", 1e9, id="the full box of each latent hashed"),
        pytest.param(warp_texture, "_BRIDGE", 1, id="the bridge, two channels at a time"),
        pytest.param(warp_seams, "_PART", 100, id="seams in small parts"),
        pytest.param(hash_noise, "_WORDS", 64, id="few hash words at a time"),
    ],
)
@pytest.mark.parametrize("flow", FLOWS)
def test_the_partition_of_the_work_changes_nothing(
    flow: torch.Tensor, module: Any, name: str, value: int, monkeypatch: Any
) -> None:
    expected = warped_noise(flow, 5, spatial=4)
    monkeypatch.setattr(module, name, value)
    torch.testing.assert_close(warped_noise(flow, 5, spatial=4), expected, atol=2e-6, rtol=0)


def test_a_value_is_two_halves_of_its_mixed_word() -> None:
    field, table = HashField(3, "test"), hash_noise._quantiles(CPU)
    cells = torch.arange(-500, 500, dtype=torch.int32)
    keys = [hash_noise._signed(address(3, "hash/test/channels", pair)) for pair in range(2)]
    words = [mix(cells ^ key).long() & 0xFFFFFFFF for key in keys]
    expected = torch.stack([table[half] for word in words for half in (word >> 16, word & 0xFFFF)])
    assert torch.equal(field.values(cells, 3), expected[:3])
    assert torch.equal(field.values(cells, 1, first=2), expected[2:3])


@pytest.mark.parametrize("size", [(8, 1), (1, 8), (1, 1), (2, 2)])
def test_images_of_a_pixel_or_two(size: tuple[int, int]) -> None:
    flow = torch.randn(3, 2, *size, generator=torch.Generator().manual_seed(0))
    noise = warped_noise(flow, 2, spatial=1, temporal=1)
    assert noise.shape == (1, 2, 4, *size) and noise.isfinite().all()
