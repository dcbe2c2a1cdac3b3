"""The motion reader detects motion in warped noise before any training, and hardly changes predictions on plain
noise."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from diffusers import WanTransformer3DModel

from tools.training.dit import build, moving_scene
from tools.training.formats import FORMATS
from tools.training.motion_reader import SHARPENED, freeze_motion_reader, sharpen, with_motion_reader
from tools.training.optimizer import MuonAdamW
from tools.training.pool import latent_motion, scene_maps
from tools.training.probe import SPREAD, MotionProbe
from tools.world import Scene, Thing
from tools.world.texture import SceneMaps
from videogen.backbones.loading import dtype_option
from videogen.schedulers import warped_noise

FORM = FORMATS["small"]
LEVEL = 1000.0
SHIPPED = Path(__file__).resolve().parents[2] / "videogen" / "embedded" / "dit"


@pytest.fixture(scope="module")
def fresh() -> WanTransformer3DModel:
    torch.manual_seed(0)
    return build(16).eval()


@pytest.fixture(scope="module")
def reader(fresh: WanTransformer3DModel) -> WanTransformer3DModel:
    return with_motion_reader(
        fresh, torch.randn(64, 16, FORM.slots, 8, 8, generator=torch.Generator().manual_seed(1))
    ).eval()


def _hidden(model: WanTransformer3DModel, noise: torch.Tensor) -> torch.Tensor:
    """After the first block, [b, tokens, width]."""
    outputs: list[torch.Tensor] = []
    handle = model.blocks[0].register_forward_hook(lambda _module, _inputs, out: outputs.append(out))
    with torch.no_grad():
        model(noise, torch.full((len(noise),), LEVEL), torch.zeros(len(noise), 8, 128))
    handle.remove()
    return outputs[0]


def _read(model: WanTransformer3DModel, noise: torch.Tensor, motion: torch.Tensor) -> torch.Tensor:
    """R^2 of a linear map from tokens to their motion [coverage, dx, dy], on clips that it was not fitted to."""
    known = _hidden(model, noise).double()
    known = torch.cat([known, torch.ones(*known.shape[:2], 1)], -1)
    target = torch.nn.functional.avg_pool3d(motion, (1, 2, 2)).flatten(2).transpose(1, 2).double()
    half = len(noise) // 2
    x, y = known[:half].flatten(0, 1), target[:half].flatten(0, 1)
    gram = x.T @ x
    weights = torch.linalg.solve(gram + 1e-4 * gram.diagonal().mean() * torch.eye(len(gram)), x.T @ y)
    rest = known[half:] @ weights - target[half:]
    return 1 - rest.square().mean((0, 1)) / target[half:].var((0, 1))


@pytest.fixture(scope="module")
def moving() -> tuple[torch.Tensor, torch.Tensor]:
    """Warped noise of scenes with undescribed motion, and their motion."""
    maps = [scene_maps(moving_scene(seed), FORM, seed) for seed in range(1, 321, 2)]
    noise = torch.cat([warped_noise(each, channels=16, seed=seed) for seed, each in enumerate(maps)])
    return noise, torch.stack([latent_motion(each) for each in maps])


@pytest.mark.slow
def test_motion_is_read_before_any_training(
    fresh: WanTransformer3DModel, reader: WanTransformer3DModel, moving: tuple[torch.Tensor, torch.Tensor]
) -> None:
    assert (_read(fresh, *moving)[1:] < 0.05).all()
    assert (_read(reader, *moving)[1:] > 0.25).all()


@pytest.mark.slow
def test_the_shipped_model_starts_with_a_reader(moving: tuple[torch.Tensor, torch.Tensor]) -> None:
    shipped = WanTransformer3DModel.from_pretrained(SHIPPED / "transformer", **dtype_option(torch.float32)).eval()
    assert (_read(shipped, *moving)[1:] > 0.25).all()


def test_predictions_on_plain_noise_hardly_change() -> None:
    model = WanTransformer3DModel.from_pretrained(SHIPPED / "transformer", **dtype_option(torch.float32)).eval()
    model.blocks = model.blocks[1:]  # without its motion reader
    model.register_to_config(num_layers=len(model.blocks))
    draw = torch.Generator().manual_seed(2)
    grown = with_motion_reader(model, torch.randn(64, 16, FORM.slots, 8, 8, generator=draw)).eval()
    assert len(grown.blocks) == len(model.blocks) + 1
    noise, text = torch.randn(8, 16, FORM.slots, 8, 8, generator=draw), torch.zeros(8, 8, 128)
    for level in (1000.0, 500.0, 50.0):
        timesteps = torch.full((8,), level)
        with torch.no_grad():
            before, after = (each(noise, timesteps, text, return_dict=False)[0] for each in (model, grown))
        assert (before - after).square().mean() < 0.1 * before.square().mean()


def test_a_frozen_reader_does_not_change_in_training(reader: WanTransformer3DModel) -> None:
    model = copy.deepcopy(reader).train()
    freeze_motion_reader(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = MuonAdamW([model], lr=1e-3)
    model(torch.randn(1, 16, 2, 8, 8), torch.tensor([500.0]), torch.zeros(1, 8, 128), return_dict=False)[
        0
    ].square().mean().backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert not any(name.startswith(("patch_embedding", "blocks.0.", "condition_embedder.time")) for name in changed)
    assert {f"blocks.{i}.ffn.net.2.weight" for i in range(1, len(model.blocks))} <= changed


def test_a_sharpened_reader_writes_the_same_features_larger(reader: WanTransformer3DModel) -> None:
    noise = torch.randn(2, 16, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    silent, sharp = copy.deepcopy(reader), copy.deepcopy(reader)
    sharpen(silent, 0)
    sharpen(sharp)
    without, before, after = (_hidden(model, noise) for model in (silent, reader, sharp))
    assert (before - without).abs().max() > 0.1
    assert torch.allclose(after - without, SHARPENED * (before - without), atol=1e-4)


def test_patches_without_neighbours_are_refused() -> None:
    with pytest.raises(ValueError, match="patches of 1 x 2 x 2"):
        with_motion_reader(build(16, FORMATS["large"]), torch.randn(1, 16, 1, 8, 8))


def test_a_reader_is_added_once_and_retained_only_if_there_is_one(
    fresh: WanTransformer3DModel, reader: WanTransformer3DModel
) -> None:
    with pytest.raises(ValueError, match="already"):
        with_motion_reader(reader, torch.randn(1, 16, 1, 8, 8))
    for needs_one in (freeze_motion_reader, sharpen):
        with pytest.raises(ValueError, match="no motion reader"):
            needs_one(fresh)


def test_latent_motion_equals_the_worlds() -> None:
    scene = Scene((Thing("square", "red", "moves right"),), "black", None, 5)
    motion = latent_motion(SceneMaps(scene, 33, 64))
    assert motion.shape == (3, 9, 8, 8)
    inside = motion[0] > 0.99
    assert inside.any() and torch.allclose(motion[1][inside], torch.tensor(4 * 0.68)) and motion[2].abs().max() < 1e-5
    assert (motion[1:, motion[0] == 0] == 0).all()
    places = (motion[0] * (torch.arange(8) * 8 + 4)).sum((1, 2)) / motion[0].sum((1, 2))
    assert torch.allclose(places.diff(), torch.tensor(4 * 0.68), atol=0.8)


def test_a_probe_reads_each_position_from_its_own_token(fresh: WanTransformer3DModel) -> None:
    probe = MotionProbe(fresh)
    motion = torch.randn(2, 3, FORM.slots, 8, 8, generator=torch.Generator().manual_seed(3))
    tokens = motion.view(2, 3, FORM.slots, 4, 2, 4, 2).permute(0, 2, 3, 5, 4, 6, 1).flatten(4).flatten(1, 3)
    probe.reading = torch.nn.Sequential()
    probe._store(fresh, (), tokens)
    assert float(probe.unexplained(motion)) == 0
    probe._store(fresh, (), tokens + 0.5)
    assert float(probe.unexplained(motion)) == pytest.approx(sum((0.5 / spread) ** 2 for spread in SPREAD) / 3)
