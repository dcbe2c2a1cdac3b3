"""Previews of latents against the frames that they are: mean error at latent resolution, in levels of 255."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tools.bench.preview import TARGETS, preview_errors
from videogen import Engine
from videogen.backbones import preview as module
from videogen.backbones.preview import LatentPreview
from videogen.core.disk_cache import PREVIEW, DiskCache

LATENTS = torch.randn(1, 2, 3, 4, 5, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["embedded", pytest.param("embedded-unet", marks=pytest.mark.slow)])
def test_a_preview_has_the_colours_of_its_frames(name: str) -> None:
    backbone = Engine.load(name, device="cpu").backbone
    state = torch.random.get_rng_state()
    with torch.inference_mode():  # a caller may have switched gradients off
        preview = LatentPreview(backbone)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.mean(preview_errors(backbone, preview, clips=12)) <= TARGETS["mean_error"]


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The fits so far: quick ones, of two channels."""
    done: list[str] = []

    def draw_pairs(backbone: Any) -> tuple[torch.Tensor, torch.Tensor]:
        done.append("fit")
        generator = torch.Generator().manual_seed(0)
        return torch.randn(64, 23, generator=generator), torch.rand(64, 3, generator=generator)

    monkeypatch.setattr(module, "_draw_pairs", draw_pairs)
    monkeypatch.setattr(module, "_STEPS", 4)
    return done


def backbone_of(vae: torch.nn.Module | None, single_first: bool = True) -> Any:
    geometry = SimpleNamespace(temporal=4, spatial=8, multiple=16, single_first=single_first)
    return SimpleNamespace(geometry=geometry, pipeline=SimpleNamespace(vae=vae))


def vae(weight: float = 1.0) -> torch.nn.Module:
    found = torch.nn.Linear(3, 3, bias=False)
    found.weight.data.fill_(weight)
    return found


def test_a_fit_is_made_once_per_vae(tmp_path: Path, fits: list[str]) -> None:
    first = LatentPreview(backbone_of(vae()), DiskCache(PREVIEW, tmp_path))(LATENTS)
    again = LatentPreview(backbone_of(vae()), DiskCache(PREVIEW, tmp_path))(LATENTS)
    assert len(fits) == 1 and np.array_equal(first, again) and first.std() > 0
    LatentPreview(backbone_of(vae(1.5)), DiskCache(PREVIEW, tmp_path))
    LatentPreview(backbone_of(vae(), single_first=False), DiskCache(PREVIEW, tmp_path))
    LatentPreview(backbone_of(vae().half()), DiskCache(PREVIEW, tmp_path))
    assert len(fits) == 4 and len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(
    "payload", [b"", b"not safetensors", b"\x02\0\0\0\0\0\0\0{}"], ids=["empty", "no header", "no tensors"]
)
def test_an_entry_of_another_version_is_fitted_again(payload: bytes, tmp_path: Path, fits: list[str]) -> None:
    cache = DiskCache(PREVIEW, tmp_path)
    first = LatentPreview(backbone_of(vae()), cache)(LATENTS)
    (entry,) = tmp_path.iterdir()
    cache.write(entry.stem, payload)
    assert np.array_equal(LatentPreview(backbone_of(vae()), cache)(LATENTS), first) and len(fits) == 2


@pytest.mark.parametrize("component", [None, vae().to("meta")], ids=["no VAE", "weights not in memory"])
def test_what_has_no_digest_is_not_cached(component: torch.nn.Module | None, tmp_path: Path, fits: list[str]) -> None:
    for _ in range(2):
        LatentPreview(backbone_of(component), DiskCache(PREVIEW, tmp_path))
    assert len(fits) == 2 and not list(tmp_path.iterdir())
