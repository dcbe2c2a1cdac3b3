"""Timesteps per latent frame: equal ones give the scalar's prediction, others are applied frame by frame, and a model
that cannot take them refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.contract.families import VARIANTS
from videogen import Engine, InputError, RenderRequest, UnsupportedError
from videogen.backbones.base import Backbone

EngineOf = Callable[[str], Engine]
EXPANDED = ["wan-2.2-expand"]
TRAINED = ["wan-2.1+clean_prefix", "animatediff+clean_prefix"]
BATCH = 2


def given(name: str, engine_of: EngineOf) -> tuple[Backbone, torch.Tensor, torch.Tensor]:
    """A backbone, latents [2, c, f, h, w] and text [2, tokens, width]."""
    backbone = engine_of(name).backbone
    frames, width, height = VARIANTS[name.partition("+")[0]].clips[1]
    latents = torch.randn(
        backbone.geometry.shape(frames, height, width, BATCH), generator=torch.Generator().manual_seed(0)
    )
    text = backbone.encode_prompt(["a red ball moves right", "a blue square"], None).positive
    return backbone, latents, text


def test_models_that_continue_clips_as_published(engine_of: EngineOf) -> None:
    assert [name for name in VARIANTS if engine_of(name).backbone.takes_clean_prefix] == EXPANDED


@pytest.mark.parametrize("name", VARIANTS)
def test_clean_prefix_is_refused_unless_the_weights_were_trained_for_it(name: str, engine_of: EngineOf) -> None:
    backbone = engine_of(name).backbone
    frames, width, height = VARIANTS[name].clips[1]
    request = RenderRequest("a red ball", frames=4 * frames + 1, window=max(frames, 9), width=width, height=height)
    assert backbone.capabilities.per_frame_timesteps
    request = dataclasses.replace(request, continuity="clean_prefix:overlap=1")
    if name in EXPANDED:
        assert request.resolve(backbone).clip_continuity.policy == "clean_prefix"
    else:
        with pytest.raises(UnsupportedError, match=r"clean_prefix: .* does not take a timestep"):
            request.resolve(backbone)


@pytest.mark.parametrize("name", TRAINED)
def test_a_model_trained_to_continue_takes_them(name: str, engine_of: EngineOf) -> None:
    backbone, latents, text = given(name, engine_of)
    assert backbone.takes_clean_prefix
    scalar, own = torch.tensor(713.0), torch.full((latents.shape[2],), 713.0)
    with torch.no_grad():
        expected = backbone.predict(latents, scalar, text)
        assert torch.allclose(backbone.predict(latents, own, text), expected, atol=1e-5)
        own[0] = 0
        other = backbone.predict(latents, own, text)
        again = backbone.predict(latents, scalar, text)
    assert float((other - expected)[:, :, 0].abs().max()) > 1e-4 and torch.equal(again, expected)


def test_each_frame_s_resnets_get_its_timestep(engine_of: EngineOf) -> None:
    backbone, latents, text = given("animatediff+clean_prefix", engine_of)
    frames, unet = latents.shape[2], backbone.denoisers()[0]
    own = torch.arange(BATCH * frames).view(BATCH, frames) * 100.0
    received: list[torch.Tensor] = []
    layers = [m for name, m in unet.named_modules() if name.endswith("time_emb_proj")]
    hooks = [layer.register_forward_pre_hook(lambda _m, given: received.append(given[0])) for layer in layers]
    with torch.no_grad():
        backbone.predict(latents, own, text)
        expected = torch.nn.functional.silu(unet.time_embedding(unet.time_proj(own.flatten())))
    for hook in hooks:
        hook.remove()
    assert len(received) == len(layers) > 4 and all(torch.equal(one, expected) for one in received)


@pytest.mark.parametrize("name", EXPANDED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64], ids=str)
def test_equal_timesteps_are_the_scalar(name: str, dtype: torch.dtype, engine_of: EngineOf) -> None:
    backbone, latents, text = given(name, engine_of)
    scalar = torch.tensor(713.4567890123).to(dtype)
    with torch.no_grad():
        expected = backbone.predict(latents, scalar, text)
        assert expected.std() > 1e-3
        for shape in ((latents.shape[2],), (BATCH, latents.shape[2])):
            assert torch.equal(backbone.predict(latents, scalar.expand(shape), text), expected)


@pytest.mark.parametrize("name", EXPANDED)
def test_each_frame_s_tokens_get_its_timestep(name: str, engine_of: EngineOf) -> None:
    backbone, latents, text = given(name, engine_of)
    frames, model = latents.shape[2], backbone.denoisers()[0]
    grid = backbone.token_grid(latents.shape)
    own = torch.arange(BATCH * frames).view(BATCH, frames) * 100.0
    received: list[torch.Tensor] = []
    hook = model.register_forward_pre_hook(
        lambda _m, _args, kwargs: received.append(kwargs["timestep"]), with_kwargs=True
    )
    with torch.no_grad():
        rows = backbone.predict(latents, own, text)
        shared = backbone.predict(latents, own[1], text)
        alone = backbone.predict(latents[1:], own[1], text[1:])
    hook.remove()
    assert torch.equal(
        received[0].view(BATCH, frames, grid.height, grid.width),
        own[..., None, None].expand(-1, -1, grid.height, grid.width),
    )
    assert torch.equal(received[1], received[0][1:].expand(BATCH, -1))
    assert torch.equal(rows[1], shared[1]) and not torch.equal(rows[0], shared[0])
    assert torch.allclose(rows[1:], alone, atol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_other_shapes_are_refused(name: str, engine_of: EngineOf) -> None:
    backbone, latents, text = given(name, engine_of)
    frames = latents.shape[2]
    message = rf"batch {BATCH} and {frames} frames; use a scalar, \[{frames}\] or \[{BATCH}, {frames}\]"
    for shape in ((frames + 1,), (1,), (frames, BATCH), (BATCH, frames, 1), (BATCH + 1, frames)):
        with pytest.raises(InputError, match=message):
            backbone.predict(latents, torch.zeros(shape), text)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        pytest.param("wan-2.2-expand", {"patch_size": (2, 2, 2)}, id="a token spans two frames"),
        pytest.param("animatediff", {"time_cond_proj_dim": 8}, id="guidance is distilled"),
    ],
)
def test_architectures_without_them_refuse(
    name: str, setting: dict[str, Any], engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, latents, text = given(name, engine_of)
    model, frames = backbone.denoisers()[0], latents.shape[2]
    monkeypatch.setattr(model, "_internal_dict", type(model.config)({**model.config, **setting}))
    monkeypatch.delitem(vars(backbone), "spec", raising=False)  # it is read once
    assert not backbone.capabilities.per_frame_timesteps and not backbone.takes_clean_prefix
    for shape in ((frames,), (BATCH, frames)):
        with pytest.raises(UnsupportedError, match="takes one for the entire clip; give a scalar"):
            backbone.predict(latents, torch.zeros(shape), text)
