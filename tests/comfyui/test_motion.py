"""Warped noise over a host's own noise, and the nodes that describe motions."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.comfyui.hosts import Host
from videogen.comfyui.hooks.latent_scale import latent_scale
from videogen.comfyui.native.warped_noise import WarpedHostNoise
from videogen.core.errors import InputError
from videogen.motion import Camera

SHAPE = (2, 16, 5, 8, 12)


class Plain:
    """As ComfyUI's RandomNoise."""

    seed = 7

    def generate_noise(self, latent: dict[str, Any]) -> Any:
        found = latent["samples"]
        generator = torch.Generator().manual_seed(self.seed)
        if getattr(found, "is_nested", False):
            return Nested([torch.randn(one.shape, generator=generator) for one in found.unbind()])
        return torch.randn(found.shape, generator=generator)


class Nested:
    is_nested = True

    def __init__(self, parts: list[torch.Tensor]) -> None:
        self._parts = parts

    def unbind(self) -> list[torch.Tensor]:
        return self._parts


def noise(strength: float, latent: Any) -> Any:
    return WarpedHostNoise(Plain(), Camera(pan=64), strength, 8, 4).generate_noise(latent)


def test_strength_zero_is_the_host_s_noise() -> None:
    latent = {"samples": torch.zeros(SHAPE)}
    assert torch.equal(noise(0.0, latent), Plain().generate_noise(latent))


def test_it_moves_by_the_motion_and_stays_standard_normal() -> None:
    found = noise(1.0, {"samples": torch.zeros(SHAPE)})
    assert found.shape == SHAPE and abs(found.std() - 1) < 0.05 and abs(found.mean()) < 0.05
    moved = found[:, :, 1:, :, :-2] * found[:, :, :-1, :, 2:]  # the image moves left by 2 latents per latent frame
    assert moved.mean() > 0.8 and abs((found[:, :, 1:] * found[:, :, :-1]).mean()) < 0.2
    assert abs((found[0] * found[1]).mean()) < 0.1  # clips of a batch are independent


def test_sound_keeps_its_own_noise() -> None:
    latent = {"samples": Nested([torch.zeros(SHAPE), torch.zeros(2, 8, 20)])}
    found, plain = noise(0.9, latent).unbind(), Plain().generate_noise(latent).unbind()
    assert torch.equal(found[1], plain[1]) and not torch.equal(found[0], plain[0])


def test_images_are_refused() -> None:
    with pytest.raises(InputError, match="are no video"):
        noise(0.9, {"samples": torch.zeros(1, 4, 8, 8)})


def test_clips_of_a_batch_have_the_noise_of_their_number() -> None:
    pair = noise(1.0, {"samples": torch.zeros(SHAPE), "batch_index": [3, 1]})
    (third,) = noise(1.0, {"samples": torch.zeros(1, *SHAPE[1:]), "batch_index": [3]})
    assert torch.equal(pair[0], third) and not torch.equal(pair[0], pair[1])
    assert torch.equal(pair[1], noise(1.0, {"samples": torch.zeros(SHAPE)})[1])


def test_clips_of_neighbouring_seeds_are_independent() -> None:
    latent = {"samples": torch.zeros(SHAPE)}
    after = WarpedHostNoise(Plain(), Camera(pan=64), 1.0, 8, 4)
    after.seed = Plain.seed + 1
    assert abs((noise(1.0, latent)[1] * after.generate_noise(latent)[0]).mean()) < 0.1


def test_the_largest_seed_of_a_host_is_accepted() -> None:
    largest = WarpedHostNoise(Plain(), Camera(pan=64), 1.0, 8, 4)
    largest.seed = 2**64 - 1
    assert abs(largest.generate_noise({"samples": torch.zeros(SHAPE)}).std() - 1) < 0.05


@pytest.mark.parametrize(
    ("channels", "frames", "scale", "pan"),
    [
        pytest.param(48, 3, (16, 4), 64, id="Wan 2.2 5B"),
        pytest.param(128, 3, (32, 8), 128, id="LTXV"),
        pytest.param(12, 3, (8, 6), 32, id="Mochi"),
    ],
)
def test_it_moves_by_entire_latents_at_every_scale(
    channels: int, frames: int, scale: tuple[int, int], pan: float
) -> None:
    """The camera turns right by two latents per latent frame: the noise moves left by two."""
    latent = {"samples": torch.zeros(1, channels, frames, 6, 10)}
    found = WarpedHostNoise(Plain(), Camera(pan=pan), 1.0, *scale).generate_noise(latent)
    assert found.shape == latent["samples"].shape
    torch.testing.assert_close(found[:, :, 1:, :, :-2], found[:, :, :-1, :, 2:], atol=1e-4, rtol=1e-4)


def test_a_node_gives_noise_for_a_model(comfy: Host) -> None:
    node, model = comfy.load_nodes("warped_noise").WarpedNoise, comfy.model()
    assert latent_scale(model) == (8, 4)
    (found,) = node.execute(Plain(), Camera(pan=64), model, 0.9).result
    assert found.seed == 7 and found.generate_noise({"samples": torch.zeros(SHAPE)}).shape == SHAPE
    with pytest.raises(ValueError, match="from 0 to 1"):
        node.execute(Plain(), Camera(pan=64), model, float("nan"))


def test_windows_that_replace_the_noise_are_refused(comfy: Host) -> None:
    node, model = comfy.load_nodes("warped_noise").WarpedNoise, comfy.model()
    model.model_options["context_handler"] = SimpleNamespace(freenoise=True)
    with pytest.raises(InputError, match="set freenoise to false at the context windows"):
        node.execute(Plain(), Camera(pan=64), model, 0.9)
    assert node.execute(Plain(), Camera(pan=64), model, 0.0).result, "nothing moves"
    model.model_options["context_handler"] = SimpleNamespace(freenoise=False)
    assert node.execute(Plain(), Camera(pan=64), model, 0.9).result
