"""Warped noise: white and Gaussian in every frame, moved along the motion, for any requested frames in any
order."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from tests.schedulers.noise_statistics import ideal_texture
from tools.world.geometry import flow as world_flow
from tools.world.geometry import layer_maps, radius_px
from tools.world.scene import Scene, Thing
from videogen.metrics.coherence import correlation
from videogen.metrics.whiteness import noise_faults as faults
from videogen.schedulers import AddressedNoise, NoiseSource, WarpedNoise, warped_noise
from videogen.schedulers.warping.hash_noise import HashField, mix
from videogen.schedulers.warping.maps import UNKNOWN, FlowMaps
from videogen.schedulers.warping.mix import correlation_of_degradation, low_pass_mix

METHODS = [
    pytest.param({"method": "texture"}, id="texture"),
    pytest.param({"method": "bipartite"}, id="bipartite"),
    pytest.param({"method": "bipartite", "compat": True, "oversample": 2}, id="bipartite as published"),
]
OWN_METHODS = METHODS[:2]


def still(frames: int = 5, height: int = 32, width: int = 48) -> torch.Tensor:
    return torch.zeros(frames - 1, 2, height, width)


def pan(dx: float, dy: float = 0.0, frames: int = 5, height: int = 32, width: int = 48) -> torch.Tensor:
    return still(frames, height, width) + torch.tensor([dx, dy]).view(1, 2, 1, 1)


def affine(matrix: list[list[float]], steps: int, size: int) -> torch.Tensor:
    """Flow about the centre: x -> matrix x."""
    y, x = torch.meshgrid(*[torch.arange(size) + 0.5 - size / 2] * 2, indexing="ij")
    (a, b), (c, d) = matrix
    return torch.stack([a * x + b * y - x, c * x + d * y - y])[None].repeat(steps, 1, 1, 1)


def rotation(degrees: float, scale: float = 1.0) -> list[list[float]]:
    c, s = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    return [[c, -s], [s, c]]


def wave(steps: int, size: int) -> torch.Tensor:
    y, x = torch.meshgrid(*[torch.arange(size) + 0.5] * 2, indexing="ij")
    return torch.stack([3 * torch.sin(y / 9), 2 * torch.cos(x / 7)])[None].repeat(steps, 1, 1, 1)


@dataclass
class Similar:
    """Exact maps: after the first frame, the image is scaled, rotated about the centre and translated."""

    scale: float = 1.0
    degrees: float = 0.0
    dx: float = 0.0
    dy: float = 0.0
    frames: int = 2
    height: int = 96
    width: int = 96

    def texture(self, frame: int, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        layer = torch.zeros_like(x, dtype=torch.int32)
        if frame == 0:
            return layer, x, y
        x, y = x - self.width / 2 - self.dx, y - self.height / 2 - self.dy
        (a, b), (c, d) = rotation(-self.degrees, 1 / self.scale)
        return layer, a * x + b * y + self.width / 2, c * x + d * y + self.height / 2


@dataclass
class Constant:
    """Every pixel shows the same point, or an unknown one."""

    layer: int = 0
    frames: int = 2
    height: int = 256
    width: int = 256

    def texture(self, frame: int, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return torch.full_like(x, self.layer, dtype=torch.int32), torch.full_like(x, 7.3), torch.full_like(x, -2.1)


class World:
    """Exact maps of the procedural world: layer 0 is the background, layer 1 the object; planes are in pixels of
    frame 0."""

    def __init__(self, scene: Scene, frames: int, size: int) -> None:
        self.frames, self.height, self.width = frames, size, size
        self.background, (self.thing,) = layer_maps(scene, frames, size)
        self.radius = radius_px(scene, 0, size)

    def texture(self, frame: int, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        thing_u, thing_v = self.thing.to_plane(frame, x.double().numpy(), y.double().numpy())
        on = thing_u**2 + thing_v**2 < self.radius**2
        back = self.background.to_screen(0, *self.background.to_plane(frame, x.double().numpy(), y.double().numpy()))
        front = self.thing.to_screen(0, thing_u, thing_v)
        u, v = (torch.from_numpy(np.where(on, f, b)).float() for f, b in zip(front, back, strict=True))
        return torch.from_numpy(on.astype(np.int32)), u, v


def scene(motion: str, camera: str | None = None) -> Scene:
    return Scene((Thing("ball", "red", motion, "slowly"),), "black", camera, seed=1)


# --- the field


def test_the_mixer_wraps_as_the_published_one() -> None:
    def lowbias32(x: int) -> int:
        x = (x ^ x >> 16) * 0x7FEB352D & 0xFFFFFFFF
        x = (x ^ x >> 15) * 0x846CA68B & 0xFFFFFFFF
        return x ^ x >> 16

    words = [0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xDEADBEEF, 0xFFFFFFFF]
    signed = torch.tensor(words, dtype=torch.int64).to(torch.int32)
    assert [int(w) & 0xFFFFFFFF for w in mix(signed)] == [lowbias32(w) for w in words]


def grid(size: int, x0: int = 0, y0: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    y, x = torch.meshgrid(
        torch.arange(size, dtype=torch.int32) + y0, torch.arange(size, dtype=torch.int32) + x0, indexing="ij"
    )
    return x.flatten(), y.flatten()


@pytest.mark.parametrize(
    ("x0", "y0", "layer"),
    [
        pytest.param(0, 0, 0, id="at the origin"),
        pytest.param(-128, -128, 3, id="across the axes"),
        pytest.param(32_700, -32_800, 1, id="across blocks"),
        pytest.param(10**9, -(10**9), -7, id="far away"),
    ],
)
def test_the_field_is_white(x0: int, y0: int, layer: int) -> None:
    assert faults(HashField(5, "test").at(layer, *grid(256, x0, y0), 6).view(6, 256, 256)) == []


def test_a_cell_does_not_depend_on_the_other_cells_of_a_call() -> None:
    field, (x, y) = HashField(5, "test"), grid(16)
    full = field.at(2, x, y, 5)
    assert torch.equal(field.at(2, x[7:9], y[7:9], 5), full[:, 7:9])
    assert torch.equal(field.at(2, x, y, 2), full[:2])
    far = torch.cat([x, torch.tensor([10**6], dtype=torch.int32)]), torch.cat([y, torch.tensor([0], dtype=torch.int32)])
    assert torch.equal(field.at(torch.full_like(far[0], 2), *far, 5)[:, :-1], full)


def test_seeds_streams_layers_and_channels_are_independent() -> None:
    x, y = grid(200)
    kinds = [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1), (0, "a", -1)]
    values = torch.cat([HashField(seed, stream).at(layer, x, y, 4) for seed, stream, layer in kinds])
    scores = (values @ values.T / math.sqrt(len(x))).triu(1).abs()
    assert scores.max() < 4.5


# --- exactness


@pytest.mark.parametrize("how", METHODS)
def test_no_motion_leaves_the_noise_unchanged_bit_for_bit(how: dict) -> None:
    noise = warped_noise(still(9), **how)
    assert noise.shape == (1, 16, 3, 4, 6)
    assert torch.equal(noise, noise[:, :, :1].expand_as(noise))


@pytest.mark.parametrize("how", METHODS)
def test_strength_0_is_addressed_noise_bit_for_bit(how: dict) -> None:
    assert torch.equal(warped_noise(pan(3), seed=4, strength=0, **how), AddressedNoise(4).frames(range(2), (16, 4, 6)))


@pytest.mark.parametrize("how", METHODS)
@pytest.mark.parametrize(("dx", "dy"), [(2, 0), (-2, 0), (0, 4), (2, -4)])
def test_an_integer_shift_moves_the_noise_exactly(how: dict, dx: int, dy: int) -> None:
    noise = warped_noise(pan(dx, dy), channels=3, spatial=4, temporal=4, **how)[0]
    sx, sy = dx, dy  # 4 frames of the motion amount to dx, dy latents of 4 px
    first, last = noise[:, 0], noise[:, 1]
    rows, columns = slice(max(sy, 0), 8 + min(sy, 0)), slice(max(sx, 0), 12 + min(sx, 0))
    before = slice(max(-sy, 0), 8 + min(-sy, 0)), slice(max(-sx, 0), 12 + min(-sx, 0))
    assert torch.equal(last[:, rows, columns], first[:, before[0], before[1]])


@pytest.mark.parametrize("how", METHODS)
@pytest.mark.parametrize("order", [[[0], [1], [2], [3]], [[3], [1], [0, 2]], [[2, 1], [3, 0]]], ids=str)
def test_segments_and_order_change_nothing(how: dict, order: list[list[int]]) -> None:
    flow = affine(rotation(2, 1.03), 12, 48)
    full = WarpedNoise(flow, 2, **how).frames(range(4), (4, 6, 6))
    source = WarpedNoise(flow, 2, **how)
    for indices in order:
        assert torch.equal(source.frames(indices, (4, 6, 6)), full[:, :, indices])
    assert torch.equal(warped_noise(flow, 4, seed=2, **how), full)


def test_a_channel_does_not_depend_on_how_many_there_are() -> None:
    flow = affine(rotation(2), 4, 32)
    torch.testing.assert_close(warped_noise(flow, 3), warped_noise(flow, 8)[:, :3], atol=1e-6, rtol=0)


def test_split_noise_sums_to_its_source() -> None:
    maps = Constant(height=32, width=48)
    noise = warped_noise(maps, channels=4, spatial=4, temporal=1)[0, :, 1]
    source = HashField(0, "texture").at(
        0, torch.tensor([14], dtype=torch.int32), torch.tensor([-5], dtype=torch.int32), 4
    )[:, 0]
    torch.testing.assert_close(noise.sum((1, 2)) * 8, source * math.sqrt(64 * 96), atol=1e-3, rtol=0)


# --- statistics

SIZE = 256
MOTIONS = {
    "pan by a fraction": pan(1.37, -0.6, 3, SIZE, SIZE),
    "zoom in": affine(rotation(0, 1.3), 2, SIZE),
    "zoom out": affine(rotation(0, 0.8), 2, SIZE),
    "rotation": affine(rotation(9), 2, SIZE),
    "shear": affine([[1, 0.3], [0, 1]], 2, SIZE),
    "wave": wave(2, SIZE),
    "random flow": 3 * torch.randn(2, 2, SIZE, SIZE, generator=torch.Generator().manual_seed(0)),
    "everything to one point": affine([[0, 0], [0, 0]], 2, SIZE),
    "everything out of the image": pan(1e4, 0, 3, SIZE, SIZE),
}


@pytest.mark.parametrize("how", METHODS)
@pytest.mark.parametrize("motion", MOTIONS)
def test_every_frame_is_white_and_gaussian(how: dict, motion: str) -> None:
    noise = warped_noise(MOTIONS[motion], channels=4, spatial=2, temporal=2, seed=3, **how)
    assert faults(noise[0, :, 1]) == []


@pytest.mark.parametrize(
    "maps",
    [Constant(), Constant(UNKNOWN), Similar(3.1, 31, height=256, width=256)],
    ids=["one point", "unknown", "zoomed"],
)
def test_exact_maps_are_white_and_gaussian_at_pixels(maps: Constant | Similar) -> None:
    assert faults(warped_noise(maps, channels=4, spatial=1, temporal=1)[0, :, 1]) == []


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_resampled_noise_is_detected(mode: str) -> None:
    theta = torch.tensor([[rotation(9, 1.3)[0] + [0], rotation(9, 1.3)[1] + [0]]])
    where = torch.nn.functional.affine_grid(theta / 1.69, [1, 4, 256, 256], align_corners=False)
    noise = torch.randn(1, 4, 256, 256, generator=torch.Generator().manual_seed(0))
    wrong = torch.nn.functional.grid_sample(noise, where, mode, align_corners=False)[0]
    assert {f.split()[0] for f in faults(wrong)} >= {"Moran", "PSD"}


@pytest.mark.parametrize("how", OWN_METHODS)
@pytest.mark.parametrize(
    "matrix", [rotation(1.1), rotation(0, 1.02), rotation(0, 0.98)], ids=["rotating", "zooming in", "zooming out"]
)
def test_variance_does_not_drift(how: dict, matrix: list[list[float]]) -> None:
    noise = warped_noise(affine(matrix, 120, 64), channels=16, spatial=2, temporal=8, **how)[0]
    spread = noise.std((0, 2, 3))
    assert (spread - 1).abs().max() < 4 / math.sqrt(2 * noise[:, 0].numel())
    assert abs(float(spread[-5:].mean() - spread[:5].mean())) < 0.015


# --- coherence

SLOW = [(1 / 6, 48), (0.4, 20), (1 / 3, 48), (0.6, 40)]


@pytest.mark.parametrize(("how", "least", "most"), [
    pytest.param({"method": "texture"}, 0.99, 1.01, id="texture"),
    pytest.param({"method": "bipartite"}, 0.9, 1.01, id="bipartite with the residual of rounding"),
    pytest.param({"method": "bipartite", "compat": True}, -0.1, 0.1, id="rounded as published, on the pixel grid"),
])  # fmt: skip
@pytest.mark.parametrize(("speed", "steps"), SLOW)
def test_slow_pans_carry_the_noise(how: dict, least: float, most: float, speed: float, steps: int) -> None:
    noise = warped_noise(pan(speed, 0, steps + 1, 64, 96), channels=8, temporal=steps, **how)[0]
    moved = round(speed * steps / 8)
    assert least <= correlation(noise[:, 1, :, moved + 1 :], noise[:, 0, :, 1:-moved]) <= most


@pytest.mark.parametrize(
    "matrix", [rotation(0.7), rotation(0, 1.015), rotation(0, 1 / 1.015)], ids=["rotated", "zoomed in", "zoomed out"]
)
def test_a_motion_and_its_inverse_restore_the_noise(matrix: list[list[float]]) -> None:
    back = torch.linalg.inv(torch.tensor(matrix)).tolist()
    flow = torch.cat([affine(matrix, 16, 128), affine(back, 16, 128)])
    noise = warped_noise(flow, channels=8, temporal=32)[0, :, :, 4:-4, 4:-4]
    assert correlation(noise[:, 0], noise[:, 1]) >= 0.99


@pytest.mark.parametrize(("maps", "least"), [
    pytest.param(Similar(dx=0.17), 0.985, id="sub-pixel pan"),
    pytest.param(Similar(dx=0.3, dy=0.3), 0.975, id="sub-pixel pan on both axes"),
    pytest.param(Similar(dx=3.7), 0.985, id="pan"),
    pytest.param(Similar(1.05), 0.96, id="zoom in"),
    pytest.param(Similar(2.1), 0.94, id="zoom in by 2"),
    pytest.param(Similar(0.95), 0.95, id="zoom out"),
    pytest.param(Similar(0.55), 0.94, id="zoom out by 2: the entire texture is sampled"),
    pytest.param(Similar(degrees=5), 0.97, id="turn"),
    pytest.param(Similar(degrees=45), 0.96, id="turn by 45 degrees"),
])  # fmt: skip
def test_coherence_reaches_what_exact_averaging_would(maps: Similar, least: float) -> None:
    noise = warped_noise(maps, channels=16, temporal=1)[0, :, 1]
    assert correlation(noise, ideal_texture(maps, 1, 8, 16, seed=0)) >= least


@pytest.mark.parametrize("shift", [1, 2, 3.5, 6])
def test_frames_correlate_by_the_area_they_share(shift: float) -> None:
    noise = warped_noise(pan(shift, 0, 2, 192, 192), channels=16, temporal=1)[0]
    assert correlation(noise[:, 0, :, 1:], noise[:, 1, :, 1:]) == pytest.approx(1 - shift / 8, abs=0.04)


def test_disoccluded_background_has_its_earlier_noise() -> None:
    world = World(scene("moves right"), 33, 128)
    noise = warped_noise(world, channels=4, temporal=1)[0]
    centres = torch.arange(16) * 8 + 4.0
    covered = torch.zeros(33, 16, 16, dtype=torch.bool)
    for f in range(33):
        for dy in (-4.0, 0.0, 3.9):
            for dx in (-4.0, 0.0, 3.9):
                covered[f] |= world.texture(f, *torch.meshgrid(centres + dx, centres + dy, indexing="xy"))[0] > 0
    ground = warped_noise(still(2, 128, 128), channels=4, temporal=1)[0, :, 0]
    uncovered = (covered.cummax(0).values & ~covered)[-1]
    assert uncovered.sum() > 10
    for f in (0, 16, 32):
        assert torch.equal(noise[:, f][:, ~covered[f]], ground[:, ~covered[f]])


def test_an_object_carries_its_noise_across_the_background() -> None:
    world = World(scene("moves right"), 33, 128)
    step = float(world.thing.x[1] - world.thing.x[0])
    last = round(16 / step)  # about two latents later
    noise = warped_noise(world, channels=64, temporal=1)[0]
    row, column = int(world.thing.y[0] // 8), int(world.thing.x[0] // 8)
    area = 1 - abs(last * step - 16) / 8
    assert correlation(noise[:, 0, row, column], noise[:, last, row, column + 2]) > area - 0.15


@pytest.mark.parametrize(("motion", "camera", "tail_px"), [
    pytest.param("moves right", None, 1e-4, id="an object moves"),
    pytest.param("moves up", "pans left", 1e-4, id="an object and the camera move"),
    pytest.param("grows", None, 1e-4, id="an object grows"),
    pytest.param("spins", "zooms in", 1.5, id="a quarter turn in a zoom: drift at the edge"),
])  # fmt: skip
def test_composed_flow_matches_the_exact_maps_of_the_world(motion: str, camera: str | None, tail_px: float) -> None:
    world = World(scene(motion, camera), 33, 64)
    maps = FlowMaps(torch.from_numpy(world_flow(scene(motion, camera), 33, 64)))
    y, x = torch.meshgrid(*[torch.arange(4, 60) + 0.5] * 2, indexing="ij")
    _, u, v = world.texture(32, x, y)
    layer, fu, fv = maps.texture(32, x, y)
    known = layer == 0
    error = torch.hypot(fu - u, fv - v)[known]
    assert known.float().mean() > 0.95
    assert error.median() < 0.001
    assert error.quantile(0.9) < tail_px


def test_a_measured_backward_flow_decides_what_is_in_front() -> None:
    forward, backward = still(2, 32, 48), still(2, 32, 48)
    forward[0, 0, 8:24, 8:24] = 8  # a square jumps right, over the background
    backward[0, 0, 8:24, 16:32] = -8
    backward[0, 0, 8:24, 8:16] = 3  # the uncovered background has no match
    layer, u, _ = FlowMaps(forward, backward).texture(
        1, *torch.meshgrid(torch.arange(48) + 0.5, torch.arange(32) + 0.5, indexing="xy")
    )
    assert (u[8:24, 17:31] == torch.arange(9, 23) + 0.5).all()
    assert (layer[10:22, 9:15] == 1).all()
    assert (layer[:, 34:] == 0).all()


# --- degradation and mixing


@pytest.mark.parametrize(
    ("gamma", "expected"), [(0, 1), (0.2, 0.970), (0.3, 0.919), (0.5, 0.707), (0.7, 0.394), (0.9, 0.110), (1, 0)]
)
def test_correlation_of_degradation(gamma: float, expected: float) -> None:
    assert correlation_of_degradation(gamma) == pytest.approx(expected, abs=5e-4)
    flow = still(1, 256, 256)
    pure, mixed = warped_noise(flow), warped_noise(flow, degradation=gamma)
    assert correlation(pure, mixed) == pytest.approx(expected, abs=0.03)
    assert mixed.std() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("cutoff", [0.05, 0.15, 0.5])
def test_the_low_pass_mix_stays_white(cutoff: float) -> None:
    first, second = torch.randn(2, 4, 256, 256, generator=torch.Generator().manual_seed(0))
    mixed = low_pass_mix(first, second, cutoff)
    assert faults(mixed) == []
    spectra = [torch.fft.fft2(z)[:, :4, :4] for z in (mixed, first, second)]
    near, far = (float((spectra[0] - s).abs().mean()) for s in spectra[1:])
    assert near < far / 3


def test_the_low_pass_mix_of_a_clip_is_per_frame() -> None:
    flow = pan(2, 0, 9, 64, 64)
    full = warped_noise(flow, cutoff=0.2, strength=0.8)
    assert torch.equal(WarpedNoise(flow, cutoff=0.2, strength=0.8).frames([2], (16, 8, 8)), full[:, :, 2:])


# --- as a noise source, dtypes, layouts


def test_warped_noise_is_a_noise_source() -> None:
    source: NoiseSource = WarpedNoise(pan(1), seed=7)
    assert source.frames([1, 0], (16, 4, 6)).shape == (1, 16, 2, 4, 6)
    mine, plain = source.generators(3, 2), AddressedNoise(7).generators(3, 2)
    assert [g.initial_seed() for g in mine] == [g.initial_seed() for g in plain]


@pytest.mark.parametrize("motion", [
    pytest.param(pan(1).numpy(), id="numpy"),
    pytest.param(pan(1).double(), id="float64"),
    pytest.param(FlowMaps(pan(1)), id="flow maps"),
    pytest.param(type("Plan", (), {"flow": lambda self: pan(1)})(), id="an object with flow()"),
])  # fmt: skip
@pytest.mark.parametrize("how", OWN_METHODS)
def test_forms_of_a_motion(motion: object, how: dict) -> None:
    assert torch.equal(warped_noise(motion, **how), warped_noise(pan(1), **how))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_dtype_affects_only_the_result(dtype: torch.dtype) -> None:
    assert torch.equal(warped_noise(pan(1), dtype=dtype), warped_noise(pan(1)).to(dtype))


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
@pytest.mark.parametrize("how", OWN_METHODS)
def test_devices_agree(how: dict, device: str) -> None:
    flow = wave(8, 64)
    torch.testing.assert_close(
        warped_noise(flow, device=device, **how).cpu(), warped_noise(flow, **how), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(("frames", "temporal", "causal", "latents"), [
    pytest.param(49, 4, True, 13, id="CogVideoX, Wan"),
    pytest.param(9, 8, True, 2, id="LTX"),
    pytest.param(16, 1, False, 16, id="AnimateDiff"),
    pytest.param(16, 1, True, 16, id="one frame per latent either way"),
    pytest.param(16, 4, False, 4, id="groups without a first frame"),
    pytest.param(1, 4, True, 1, id="one image"),
])  # fmt: skip
def test_layouts(frames: int, temporal: int, causal: bool, latents: int) -> None:
    noise = warped_noise(pan(8 / temporal, 0, frames, 16, 256), 4, temporal=temporal, causal=causal)
    assert noise.shape == (1, 4, latents, 2, 32)
    for f in range(1, latents):  # one latent to the right per latent frame
        assert torch.equal(noise[:, :, f, :, f:], noise[:, :, 0, :, :-f])


# --- bad input
