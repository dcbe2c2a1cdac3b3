"""Window attention on a tiny AnimateDiff: exact for short clips, clips far beyond the position table, no trace after
`close()`."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.pipelines.free_noise_utils import AnimateDiffFreeNoiseMixin

from tests.contract.families import VARIANTS
from videogen import Engine, InputError, UnsupportedError
from videogen.backbones.base import Backbone
from videogen.schedulers import Windows
from videogen.schedulers.windows import FUSIONS
from videogen.techniques.window_attention import attach_window_attention

SIZE, OVERLAP, TABLE = 16, 10, 32
TIMESTEP = torch.tensor(500)


def load(name: str, folder: Path) -> Backbone:
    VARIANTS[name].build(folder / name)
    return Engine.load(str(folder / name), device="cpu").backbone


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return load("animatediff", tmp_path_factory.mktemp("unet"))


@pytest.fixture(autouse=True)
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def predict(backbone: Backbone, frames: int, batch: int = 1) -> torch.Tensor:
    text = backbone.encode_prompt(["a red ball moves right"] * batch, None).positive
    return backbone.predict(noise(batch, 4, frames, 8, 8), TIMESTEP, text)


def state(backbone: Backbone) -> list[Any]:
    """Attributes and hooks of the UNet's modules."""
    return [
        (name, sorted(vars(m)), len(m._forward_hooks), len(m._forward_pre_hooks))
        for name, m in backbone.denoisers()[0].named_modules()
    ]


def test_temporal_blocks_are_the_motion_modules_transformer_blocks(model: Backbone) -> None:
    names = [n for n, m in model.denoisers()[0].named_modules() if any(m is block for block in model.temporal_blocks())]
    assert len(names) == len(model.temporal_blocks()) > 4
    assert all(".motion_modules." in n and ".transformer_blocks." in n for n in names) and any(
        n.startswith("mid_block") for n in names
    )
    assert model.temporal_positions == TABLE


@pytest.mark.parametrize("frames", [1, SIZE - 3, SIZE])
def test_short_clips_equal_plain_attention(model: Backbone, frames: int) -> None:
    plain = predict(model, frames)
    with attach_window_attention(model, SIZE, OVERLAP):
        assert torch.equal(predict(model, frames), plain)


@pytest.mark.parametrize("weights", ["triangular", "flat", "linear"])
def test_clips_far_beyond_the_position_table(model: Backbone, weights: str) -> None:
    with pytest.raises(RuntimeError):
        predict(model, 3 * SIZE)
    for frames in (3 * SIZE, 3 * SIZE + 5):
        with attach_window_attention(model, SIZE, OVERLAP, weights):
            long = predict(model, frames, batch=2)
        assert long.shape == (2, 4, frames, 8, 8) and bool(torch.isfinite(long).all())


def test_a_clip_that_fits_the_table_still_runs_in_windows(model: Backbone) -> None:
    plain = predict(model, TABLE)
    with attach_window_attention(model, SIZE, OVERLAP):
        windowed = predict(model, TABLE)
    with attach_window_attention(model, TABLE, OVERLAP):
        assert torch.equal(predict(model, TABLE), plain)
    assert windowed.shape == plain.shape and not torch.equal(windowed, plain)


def test_a_block_averages_its_windows(model: Backbone) -> None:
    """Against an explicit sum: each window separately, then for each frame the weighted mean over its windows."""
    block: Any = model.temporal_blocks()[0]
    frames = 3 * SIZE + 5
    hidden = noise(6, frames, block.norm1.normalized_shape[0])
    windows = Windows(frames, SIZE, OVERLAP)
    expected = torch.zeros_like(hidden)
    for window, weights in zip(windows.at(), windows.weights_at(), strict=True):
        expected[:, window.slots] += torch.tensor(weights)[:, None] * block(hidden[:, window.slots])
    first = block(hidden[:, :SIZE])
    with attach_window_attention(model, SIZE, OVERLAP):
        fused = block(hidden_states=hidden)
    assert torch.allclose(fused, expected, atol=1e-6)
    alone = windows.at()[1].start
    assert torch.equal(fused[:, :alone], first[:, :alone]), "bit for bit where one window covers a frame"


@pytest.mark.parametrize("frames", [SIZE, SIZE + 4, 3 * SIZE])
def test_pyramid_weights_and_fused_attention_are_diffusers_free_noise(model: Backbone, frames: int) -> None:
    """Each temporal block against diffusers' FreeNoise (2310.15169): windows of 16 frames every 4, weights 1 to 8."""

    class Reference(AnimateDiffFreeNoiseMixin):
        _free_noise_context_length, _free_noise_context_stride = SIZE, 4
        _free_noise_weighting_scheme = "pyramid"
        device, dtype = torch.device("cpu"), torch.float32

    unet: Any = model.denoisers()[0]
    names = [name for name, module in unet.named_modules() if any(module is own for own in model.temporal_blocks())]
    reference: Any = deepcopy(unet)
    for part in (*reference.down_blocks, reference.mid_block, *reference.up_blocks):
        Reference()._enable_free_noise_in_block(part)
    with attach_window_attention(model, SIZE, 12, "pyramid", "attention"):
        for name in names:
            block: Any = unet.get_submodule(name)
            hidden = noise(6, frames, block.norm1.normalized_shape[0])
            expected = reference.get_submodule(name)(hidden)
            assert torch.allclose(block(hidden), expected, atol=1e-5), name


@pytest.mark.parametrize("far", [0, 20, 47])
def test_a_frame_depends_only_on_its_windows(model: Backbone, far: int) -> None:
    block: Any = model.temporal_blocks()[0]
    frames = 3 * SIZE
    hidden = noise(6, frames, block.norm1.normalized_shape[0])
    other = hidden.clone()
    other[:, far] += 5
    with attach_window_attention(model, SIZE, OVERLAP):
        changed = (block(hidden) != block(other)).flatten(2).any(-1).any(0)
    reach = {f for w in Windows(frames, SIZE, OVERLAP).at() if w.start <= far < w.stop for f in range(w.start, w.stop)}
    assert set(changed.nonzero().flatten().tolist()) == reach and len(reach) < frames


def test_half_precision_is_preserved(model: Backbone) -> None:
    block: Any = deepcopy(model.temporal_blocks()[0]).bfloat16()
    hidden = noise(2, 3 * SIZE, block.norm1.normalized_shape[0]).bfloat16()

    class FakeBackbone:
        name, temporal_positions = "a fake", None

        def temporal_blocks(self) -> list[Any]:
            return [block]

        def denoisers(self) -> list[Any]:
            return []

    with attach_window_attention(FakeBackbone(), SIZE, OVERLAP):  # type: ignore[arg-type]
        assert block(hidden).dtype == torch.bfloat16


@pytest.mark.parametrize("fusion", FUSIONS)
def test_close_leaves_no_trace(model: Backbone, fusion: str) -> None:
    before, plain = state(model), predict(model, TABLE)
    handle = attach_window_attention(model, SIZE, OVERLAP, fusion=fusion)
    predict(model, 3 * SIZE)
    assert state(model) != before
    handle.close()
    handle.close()
    assert state(model) == before and torch.equal(predict(model, TABLE), plain)
    with pytest.raises(RuntimeError):
        predict(model, 3 * SIZE)
    with pytest.raises(KeyError), attach_window_attention(model, SIZE, OVERLAP):
        raise KeyError
    assert state(model) == before


def test_a_forward_of_other_code_is_restored(model: Backbone) -> None:
    block: Any = model.temporal_blocks()[0]
    plain, calls = block.forward, []

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return plain(*args, **kwargs)

    block.forward = counted
    try:
        with attach_window_attention(model, SIZE, OVERLAP):
            predict(model, 3 * SIZE)
        assert block.forward is counted and len(calls) == len(Windows(3 * SIZE, SIZE, OVERLAP).at())
    finally:
        del block.forward


def test_attaching_twice_is_refused_and_the_first_stays(model: Backbone) -> None:
    with attach_window_attention(model, SIZE, OVERLAP):
        long = predict(model, 3 * SIZE)
        with pytest.raises(InputError, match=r"attached already; close\(\)"):
            attach_window_attention(model, SIZE, OVERLAP)
        assert torch.equal(predict(model, 3 * SIZE), long)
        with pytest.raises(InputError, match="cannot be copied"):
            deepcopy(model.denoisers()[0])
    attach_window_attention(model, SIZE, OVERLAP).close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param((16, 16), "overlap=16 .* use overlap=15 or less", id="stride 0"),
        pytest.param((0, 0), "size=0 must be at least 1", id="empty windows"),
        pytest.param((16, -1), "overlap=-1 must be at least 0", id="negative overlap"),
        pytest.param((33, 8), "size:33 is more than the 32 frame positions .* use size:32", id="beyond the table"),
        pytest.param((16, 8, "triangle"), "did you mean 'triangular'", id="weights misspelt"),
    ],
)
def test_invalid_settings_are_refused(model: Backbone, settings: tuple[Any, ...], message: str) -> None:
    before = state(model)
    with pytest.raises(InputError, match=message):
        attach_window_attention(model, *settings)
    assert state(model) == before


def test_a_compiled_model_is_refused(model: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.temporal_blocks()[0], "_compiled_call_impl", lambda: None)
    with pytest.raises(InputError, match="attach first, then compile"):
        attach_window_attention(model, SIZE, OVERLAP)


def test_a_model_without_temporal_blocks_is_refused_with_an_alternative(tmp_path: Path) -> None:
    wan = load("wan-2.1", tmp_path)
    assert wan.temporal_blocks() == [] and wan.temporal_positions is None
    with pytest.raises(UnsupportedError, match="use 'co_denoise'"):
        attach_window_attention(wan, SIZE, OVERLAP)
