"""Training: the fast encode and decode equal the library's, and a run resumes, saves complete folders and stays within
its time."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderKLWan, WanTransformer3DModel

from tools import train_embedded
from tools.training import dit
from tools.training import vae as video_vae
from tools.training.dit import degrade, moving_scene
from tools.training.formats import FORMATS
from tools.training.mixture import Mixture
from tools.training.motion_reader import SHARPENED
from tools.training.pool import ContinuationPool, LatentPool, WarpedPool, scene_maps
from tools.training.scenes import SceneChange
from videogen import Engine
from videogen.schedulers import warped_noise

SHIPPED = Path(__file__).resolve().parents[2] / "videogen" / "embedded" / "dit"


def test_fast_encode_and_decode_equal_the_library() -> None:
    torch.manual_seed(0)
    vae = video_vae.build(base=8, wide=2).eval()
    pixels = torch.rand(1, 3, 13, 32, 32) * 2 - 1
    with torch.no_grad():
        parameters = video_vae.encode(vae, pixels)
        assert torch.allclose(parameters, vae.encode(pixels).latent_dist.parameters, atol=1e-5)
        latents = parameters.chunk(2, 1)[0]
        assert torch.allclose(video_vae.decode(vae, latents).clamp(-1, 1), vae.decode(latents).sample, atol=1e-5)


@pytest.mark.parametrize(("vae", "model"), [pytest.param("vae", "dit", marks=pytest.mark.slow), ("frame-vae", "unet")])
def test_parts_train_save_and_resume(tmp_path: Path, vae: str, model: str) -> None:
    for part, extra in [(vae, []), (model, ["--vae", str(tmp_path / vae / "vae")])]:
        arguments = [part, "--steps", "2", "--out", str(tmp_path / part), "--batch", "1", *extra]
        assert train_embedded.main(arguments) == 0
    out = tmp_path / model
    before = torch.load(out / "state.pt", weights_only=True)["step"]
    assert before == 2 and (out / "model_index.json").is_file() and (out / "log.jsonl").is_file()
    longer = [model, "--steps", "3", "--out", str(out), "--batch", "1", "--vae", str(tmp_path / vae / "vae")]
    assert train_embedded.main(longer) == 0
    assert torch.load(out / "state.pt", weights_only=True)["step"] == 3


@pytest.mark.slow
def test_a_motion_reader_is_added_and_retained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dit, "HELD_OUT", 1)
    plain = WanTransformer3DModel.from_pretrained(SHIPPED / "transformer")
    plain.blocks = plain.blocks[1:]  # without its motion reader
    plain.register_to_config(num_layers=len(plain.blocks))
    plain.save_pretrained(tmp_path / "plain" / "transformer")
    shutil.copytree(SHIPPED / "text_encoder", tmp_path / "plain" / "text_encoder")
    for init, choice in (("plain", "add"), ("add", "keep")):
        more = ["--vae", str(SHIPPED / "vae"), "--init", str(tmp_path / init), "--motion-reader", choice]
        assert train_embedded.main(["dit", "--steps", "1", "--out", str(tmp_path / choice), "--batch", "2", *more]) == 0
    before, after = (WanTransformer3DModel.from_pretrained(tmp_path / name / "transformer") for name in ("add", "keep"))
    assert len(before.blocks) == len(after.blocks) == len(plain.blocks) + 1
    parts = zip(before.blocks[0].state_dict().values(), after.blocks[0].state_dict().values(), strict=True)
    assert all(a.equal(b) for a, b in parts)
    written = "blocks.0.ffn.net.2.weight"
    trained = torch.load(tmp_path / "add" / "state.pt", weights_only=True)["ema"]["transformer"][written]
    assert torch.allclose(before.state_dict()[written], SHARPENED * trained, rtol=1e-3, atol=1e-6) and trained.any()
    assert Engine.load(str(tmp_path / "keep")).backbone.training.warped_noise
    with pytest.raises(ValueError, match="pass motion_reader='keep'"):
        train_embedded.main(
            ["dit", "--steps", "1", "--out", str(tmp_path / "x"), "--vae", str(SHIPPED / "vae"), "--init", str(SHIPPED)]
        )
    with pytest.raises(ValueError, match="needs a trained model"):
        train_embedded.main(
            [
                "dit",
                "--steps",
                "1",
                "--out",
                str(tmp_path / "x"),
                "--vae",
                str(SHIPPED / "vae"),
                "--motion-reader",
                "keep",
            ]
        )


@pytest.mark.parametrize("part", [pytest.param("vae", marks=pytest.mark.slow), "frame-vae"])
def test_decoder_only_training_leaves_the_encoder_unchanged(tmp_path: Path, part: str) -> None:
    kind = AutoencoderKLWan if part == "vae" else AutoencoderKL
    assert train_embedded.main([part, "--steps", "1", "--out", str(tmp_path / "first"), "--batch", "1"]) == 0
    more = ["--decoder-only", "--init", str(tmp_path / "first" / "vae")]
    assert train_embedded.main([part, "--steps", "2", "--out", str(tmp_path / "second"), "--batch", "1", *more]) == 0
    before, after = (kind.from_pretrained(tmp_path / name / "vae") for name in ("first", "second"))
    assert dict(before.config) | {"_name_or_path": ""} == dict(after.config) | {"_name_or_path": ""}
    pairs = zip(before.state_dict().items(), after.state_dict().values(), strict=True)
    changed = {name.split(".")[0] for (name, a), b in pairs if not a.equal(b)}
    assert "decoder" in changed and not changed & {"encoder", "quant_conv"}


@pytest.mark.slow
def test_the_large_format_trains_and_can_be_rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dit, "HELD_OUT", 1)
    assert FORMATS["large"].tokens > 4000
    for part, extra in [("vae", []), ("dit", ["--vae", str(tmp_path / "vae" / "vae")])]:
        arguments = [part, "--large", "--steps", "1", "--out", str(tmp_path / part), "--batch", "1", *extra]
        assert train_embedded.main(arguments) == 0
    backbone = Engine.load(str(tmp_path / "dit")).backbone
    assert (backbone.defaults.frames, backbone.defaults.width, backbone.defaults.fps) == (65, 128, 32)
    assert backbone.token_grid(backbone.geometry.shape(65, 128, 128)).video_tokens == FORMATS["large"].tokens
    size = sum(p.stat().st_size for p in (tmp_path / "dit").rglob("*.safetensors"))
    assert size < 40e6


def test_a_pool_encodes_each_scene_once() -> None:
    calls: list[list[int]] = []

    def encode(seeds: list[int]) -> torch.Tensor:
        calls.append(seeds)
        return torch.tensor(seeds, dtype=torch.float32).view(-1, 1, 1, 1, 1).expand(-1, 2, 1, 4, 4)

    pool = LatentPool(encode, first_seed=5, capacity=8)
    pool.grow(6)
    pool.grow(6)
    pool.grow(6)
    assert len(pool) == 12 and [seed for call in calls for seed in call] == list(range(5, 17))


def test_a_continuation_pool_ends_its_prefix_where_the_world_changes() -> None:
    """Each latent encodes its frame's number in the clip, and the frame at which the clip changes."""

    def encode(changes: list[SceneChange]) -> torch.Tensor:
        return torch.stack(
            [torch.stack([torch.arange(17.0), torch.full((17,), float(one.at))]).view(2, 17, 1, 1) for one in changes]
        )

    pool = ContinuationPool(encode, 5, 300, length=17, window=9, prefix=4)
    pool.grow(200)
    windows, captions, prefix = pool.draw_windows(400, np.random.default_rng(0))
    assert windows.shape == (400, 2, 9, 1, 1) and len(captions) == 400 and prefix.shape == (400, 9)
    begins, counts, at = windows[:, 0, 0, 0, 0], prefix.sum(1), windows[:, 1, 0, 0, 0]
    assert (
        torch.equal(windows[:, 0, :, 0, 0], begins[:, None] + torch.arange(9))
        and begins.min() == 0
        and begins.max() == 8
    )
    assert set(counts.tolist()) == {1, 2, 3, 4} and all(
        row[:count].all() for row, count in zip(prefix, counts, strict=True)
    )
    assert 0.25 < float((begins + counts == at).float().mean()) < 0.7  # all that change, and by chance some others


@pytest.mark.parametrize("part", ["dit", pytest.param("unet", marks=pytest.mark.slow)])
def test_a_model_trained_to_continue_clips_records_it(
    tmp_path: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dit, "HELD_OUT", 1)
    shipped = SHIPPED.parent / part
    more = [
        "--vae",
        str(shipped / "vae"),
        "--init",
        str(shipped),
        *(["--motion-reader", "keep"] if part == "dit" else []),
    ]
    assert (
        train_embedded.main(
            [part, "--steps", "1", "--out", str(tmp_path / "on"), "--batch", "4", "--continued", "0.25", *more]
        )
        == 0
    )
    assert Engine.load(str(tmp_path / "on")).backbone.takes_clean_prefix
    row = json.loads((tmp_path / "on" / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert row["step"] == 1 and 0 < row["continued_loss"] < 1.5
    assert all(math.isfinite(value) for value in row.values() if isinstance(value, float))
    with pytest.raises(ValueError, match="leave some clips plain"):
        train_embedded.main([part, "--steps", "1", "--out", str(tmp_path / "x"), "--continued", "1", *more])


def test_a_mixture_splits_a_batch_and_refuses_too_small_ones() -> None:
    assert (
        Mixture(0.25, 0.5).counts(16) == (4, 8, 4)
        and Mixture().counts(1) == (1, 0, 0)
        and Mixture(0.5).counts(1) == (1, 0, 0)
    )
    for fractions, batch in (((0.0, 0.1), 4), ((0.5, 0.45), 4), ((0.9, 0.0), 3)):
        with pytest.raises(ValueError, match=f"a batch of {batch} is too small"):
            Mixture(*fractions).counts(batch)
    for wrong in ((-0.1, 0.0), (0.5, 0.5), (0.0, 0.0, 1.5)):
        with pytest.raises(ValueError, match="fractions must be from 0 to 1"):
            Mixture(*wrong)


def test_a_warped_pool_draws_the_clips_noise_in_new_rotations() -> None:
    form = FORMATS["small"]
    pool = WarpedPool(lambda seeds: torch.zeros(len(seeds), 6, form.slots, 8, 8), form, 3, 8, moving_scene)
    with torch.autocast("cpu", torch.bfloat16):
        pool.grow(2)
        assert torch.is_autocast_enabled("cpu"), "only the data stays in fp32"
    expected = torch.cat(
        [warped_noise(scene_maps(moving_scene(seed), form, seed), channels=6, seed=seed) for seed in (3, 4)]
    )
    _, captions, noise, motion = pool.draw_warped(64, np.random.default_rng(0))
    assert (
        noise.shape == (64, 6, form.slots, 8, 8) and len(captions) == 64 and motion.shape == (64, 3, form.slots, 8, 8)
    )
    gram = torch.einsum("ncfhw,ncgij->nfhwgij", noise[:1], noise[:1])
    grams = torch.einsum("ncfhw,ncgij->nfhwgij", expected, expected)
    assert (
        min(float((gram - one).abs().max()) for one in grams) < 0.05
    )  # fp16: the same noise but for a rotation of channels
    assert not torch.equal(noise[0], noise[1])


def test_degradation_retains_the_variance_and_mixes_by_its_own_weight() -> None:
    noise = torch.randn(64, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    mixed = degrade(noise, np.random.default_rng(0))
    assert abs(float(mixed.var()) - 1) < 0.03
    correlation = (mixed * noise).mean((1, 2, 3, 4))
    gamma = np.random.default_rng(0).random(64) ** 2
    expected = (1 - gamma) / np.sqrt((1 - gamma) ** 2 + gamma**2)
    assert np.abs(correlation.numpy() - expected).max() < 0.12
