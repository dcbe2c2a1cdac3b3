"""A timestep for each latent frame: the scalar's prediction where all are equal, its frame's own where not, refused
elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.contract.families import VARIANTS
from videogen import Engine, InputError, UnsupportedError
from videogen.backbones.base import Backbone

EngineOf = Callable[[str], Engine]
FRAMEWISE = ["wan-2.2-expand"]
TAUGHT = ["wan-2.1+clean_prefix", "animatediff+clean_prefix"]
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


def test_which_families_take_a_timestep_a_frame(engine_of: EngineOf) -> None:
    assert [name for name in VARIANTS if engine_of(name).backbone.capabilities.per_frame_timesteps] == FRAMEWISE


@pytest.mark.parametrize("name", TAUGHT)
def test_a_model_that_was_taught_to_go_on_takes_them_too(name: str, engine_of: EngineOf) -> None:
    backbone, latents, text = given(name, engine_of)
    assert backbone.capabilities.per_frame_timesteps
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
    told: list[torch.Tensor] = []
    layers = [m for name, m in unet.named_modules() if name.endswith("time_emb_proj")]
    hooks = [layer.register_forward_pre_hook(lambda _m, given: told.append(given[0])) for layer in layers]
    with torch.no_grad():
        backbone.predict(latents, own, text)
        expected = torch.nn.functional.silu(unet.time_embedding(unet.time_proj(own.flatten())))
    for hook in hooks:
        hook.remove()
    assert len(told) == len(layers) > 4 and all(torch.equal(one, expected) for one in told)


@pytest.mark.parametrize("name", FRAMEWISE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64], ids=str)
def test_equal_timesteps_are_the_scalar(name: str, dtype: torch.dtype, engine_of: EngineOf) -> None:
    backbone, latents, text = given(name, engine_of)
    scalar = torch.tensor(713.4567890123).to(dtype)
    with torch.no_grad():
        expected = backbone.predict(latents, scalar, text)
        assert expected.std() > 1e-3
        for shape in ((latents.shape[2],), (BATCH, latents.shape[2])):
            assert torch.equal(backbone.predict(latents, scalar.expand(shape), text), expected)


@pytest.mark.parametrize("name", FRAMEWISE)
def test_each_frame_s_tokens_get_its_timestep(name: str, engine_of: EngineOf) -> None:
    backbone, latents, text = given(name, engine_of)
    frames, model = latents.shape[2], backbone.denoisers()[0]
    grid = backbone.token_grid(latents.shape)
    own = torch.arange(BATCH * frames).view(BATCH, frames) * 100.0
    told: list[torch.Tensor] = []
    hook = model.register_forward_pre_hook(lambda _m, _args, kwargs: told.append(kwargs["timestep"]), with_kwargs=True)
    with torch.no_grad():
        rows = backbone.predict(latents, own, text)
        shared = backbone.predict(latents, own[1], text)
        alone = backbone.predict(latents[1:], own[1], text[1:])
    hook.remove()
    assert torch.equal(
        told[0].view(BATCH, frames, grid.height, grid.width),
        own[..., None, None].expand(-1, -1, grid.height, grid.width),
    )
    assert torch.equal(told[1], told[0][1:].expand(BATCH, -1))
    assert torch.equal(rows[1], shared[1]) and not torch.equal(rows[0], shared[0])
    assert torch.allclose(rows[1:], alone, atol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_what_does_not_fit_is_refused(name: str, engine_of: EngineOf) -> None:
    backbone, latents, text = given(name, engine_of)
    frames = latents.shape[2]
    if name in FRAMEWISE:
        wrong: list[Any] = [(frames + 1,), (1,), (frames, BATCH), (BATCH, frames, 1), (BATCH + 1, frames)]
        error, says = (
            InputError,
            rf"batch {BATCH} and {frames} frames; use a scalar, \[{frames}\] or \[{BATCH}, {frames}\]",
        )
    else:
        wrong, error, says = (
            [(frames,), (BATCH, frames)],
            UnsupportedError,
            "takes one for the whole clip; give a scalar",
        )  # type: ignore[assignment]
    for shape in wrong:
        with pytest.raises(error, match=says):
            backbone.predict(latents, torch.zeros(shape), text)
