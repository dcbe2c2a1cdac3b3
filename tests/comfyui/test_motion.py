"""Warped noise over a host's own noise, and the nodes that describe motions."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.comfyui.hosts import Host
from videogen.comfyui.warped_noise import WarpedHostNoise, latent_scale
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


@pytest.fixture
def nodes(comfy: Host) -> Any:
    return comfy.load_nodes("motion")


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


def test_nodes_combine_motions_and_preview_them(nodes: Any) -> None:
    (camera,) = nodes.MotionCamera.execute(8, 0, 0, 1.2, "in_out").result
    (both,) = nodes.MotionDrag.execute(12, 32, 50, 32, 0, "linear", motion=camera).result
    (frames,) = nodes.MotionPreview.execute(both, 64, 48, 9).result
    assert frames.shape == (9, 48, 64, 3) and 0 <= frames.min() < frames.max() <= 1
    assert (frames[0] - frames[-1]).abs().mean() > 0.01
    (still,) = nodes.MotionPreview.execute(both, 64, 48, 9, first_frame=torch.rand(1, 48, 64, 4)).result
    assert still.shape == frames.shape


def test_a_node_gives_noise_for_a_model(comfy: Host, nodes: Any) -> None:
    model = comfy.model()
    assert latent_scale(model) == (8, 4)
    (found,) = nodes.WarpedNoise.execute(Plain(), Camera(pan=64), model, 0.9).result
    assert found.seed == 7 and found.generate_noise({"samples": torch.zeros(SHAPE)}).shape == SHAPE
    with pytest.raises(ValueError, match="from 0 to 1"):
        nodes.WarpedNoise.execute(Plain(), Camera(pan=64), model, float("nan"))
