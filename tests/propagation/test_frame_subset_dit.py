"""Frame subsets of transformers: queries of some frames, keys and values of all."""

from __future__ import annotations

import copy
from contextlib import closing
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.attention.models import COLUMNS, COSMOS, FRAMES, ROWS, VIDEO, WAN, Tiny, build, latents, noise
from tests.propagation.frames_cases import (
    ALL,
    BY_NAME,
    DITS,
    EVEN,
    LAYERS,
    ODD,
    model_of,
    moved,
    named,
    run,
    subset,
    untouched,
)
from videogen.attention.attaching import attach as attach_sparse
from videogen.attention.config import SparseAttention
from videogen.core.errors import InputError, UnsupportedError
from videogen.propagation.attached_block_cut import AttachedBlockCut
from videogen.propagation.frame_choice import build_frame_subset


@named(DITS)
def test_a_transformer_with_an_empty_cache_computes_all_frames(tiny: Tiny) -> None:
    model, inputs = model_of(tiny.name), tiny.inputs()
    plain = run(model, inputs)
    with closing(build_frame_subset(model)) as frames:
        assert not frames.ready("a")
        assert torch.equal(subset(frames, model, inputs), plain)
        assert frames.ready("a") and not frames.ready("b") and frames.cached_bytes() > 0
        frames.forget("a")
        assert torch.equal(subset(frames, model, moved(inputs)), run(model, moved(inputs)))


@named(DITS)
def test_only_the_chosen_frames_tokens_go_through_blocks(tiny: Tiny) -> None:
    model: Any = model_of(tiny.name)
    blocks = getattr(model, "blocks", None) or model.transformer_blocks
    feeds = [getattr(block, "ffn", None) or block.ff for block in blocks]
    with closing(build_frame_subset(model)) as frames:
        subset(frames, model, tiny.inputs(), ALL)
        lengths = set()
        hooks = [feed.register_forward_pre_hook(lambda _, args: lengths.add(args[0].shape[1])) for feed in feeds]
        subset(frames, model, tiny.inputs(), (2,))
        for hook in hooks:
            hook.remove()
    assert lengths == {VIDEO // FRAMES}


def errors_of_turns(model: nn.Module, inputs: dict[str, Any]) -> list[float]:
    """After a change of the inputs, half of the frames are computed in turn: the error of each call against the full
    evaluation."""
    then, turns = moved(inputs, 3.0), (EVEN, ODD)
    wanted = run(model, then)
    with closing(build_frame_subset(model)) as frames:
        full = subset(frames, model, inputs, ALL)
        for fresh in (EVEN, ODD, (1,)):  # at unchanged inputs a subset changes nothing
            assert (subset(frames, model, inputs, fresh) - full).abs().max() < 1e-5
        count = (LAYERS + 1) * (len(turns) - 1) + 1
        return [float((subset(frames, model, then, turns[i % 2]) - wanted).abs().max()) for i in range(count)]


@named(DITS)
def test_turns_reach_the_full_evaluation(tiny: Tiny) -> None:
    model = model_of(tiny.name)
    *before, last = errors_of_turns(model, tiny.inputs())
    assert min(before) > 2e-5 and last < 1e-5 and untouched(model)


def per_frame() -> Tensor:
    return torch.tensor([100.0, 300.0, 500.0, 700.0])


def per_token() -> Tensor:
    return per_frame().repeat_interleave(ROWS * COLUMNS).unsqueeze(0)


@pytest.mark.parametrize(
    ("name", "config", "more"),
    [
        pytest.param(
            "WanTransformer3DModel", None, lambda: {"timestep": per_token()}, id="Wan 2.2: one timestep per token",
        ),
        pytest.param(
            "LTXVideoTransformer3DModel", None, lambda: {"timestep": per_token()}, id="LTX: one timestep per token",
        ),
        pytest.param(
            "SkyReelsV2Transformer3DModel", None,
            lambda: {"timestep": per_frame()[None], "enable_diffusion_forcing": True},
            id="SkyReels: one timestep per frame",
        ),
        pytest.param(
            "SkyReelsV2Transformer3DModel", {**WAN, "num_frame_per_block": 2}, dict,
            id="SkyReels: attention causal in blocks of frames"
        ),
        pytest.param(
            "CosmosTransformer3DModel", None, lambda: {"timestep": per_frame()[None, None, :, None, None]},
            id="Cosmos: one timestep per frame",
        ),
        pytest.param(
            "CosmosTransformer3DModel", {**COSMOS, "controlnet_block_every_n": 1},
            lambda: {"block_controlnet_hidden_states": [noise(1, VIDEO, 32, seed=s) for s in (5, 6)]},
            id="Cosmos: residuals of a ControlNet",
        ),
        pytest.param(
            "WanTransformer3DModel", None, lambda: {"encoder_hidden_states": noise(1, VIDEO, 16)},
            id="as much text as video"
        ),
    ],
)  # fmt: skip
def test_inputs_per_token_are_reduced_as_well(name: str, config: Any, more: Any) -> None:
    model = model_of(name) if config is None else build(name, config)
    *before, last = errors_of_turns(model, {**BY_NAME[name].inputs(), **more()})
    assert min(before) > 2e-5 and last < 1e-5 and untouched(model)


def test_latent_frames_of_one_token_frame_are_fresh_together() -> None:
    model: Any = build("WanTransformer3DModel", {**WAN, "patch_size": (2, 2, 2)})
    inputs = BY_NAME["WanTransformer3DModel"].inputs() | {"hidden_states": latents(frames=2 * FRAMES)}
    full, lengths = run(model, inputs), set()
    with closing(build_frame_subset(model)) as frames:
        with frames.select(range(8), 8, "a"):
            assert torch.equal(run(model, inputs), full)
        hook = model.blocks[0].ffn.register_forward_pre_hook(lambda _, args: lengths.add(args[0].shape[1]))
        with frames.select((2, 3, 7), 8, "a"):
            assert torch.allclose(run(model, inputs), full, atol=1e-4)
        hook.remove()
    assert lengths == {2 * ROWS * COLUMNS}


def test_another_size_computes_all_frames_again() -> None:
    tiny = BY_NAME["WanTransformer3DModel"]
    model, inputs = model_of(tiny.name), tiny.inputs()
    narrow = {**inputs, "hidden_states": inputs["hidden_states"][..., :8].contiguous()}
    with closing(build_frame_subset(model)) as frames:
        subset(frames, model, inputs, ALL)
        assert torch.equal(subset(frames, model, narrow), run(model, narrow))


def test_attention_that_cannot_be_intercepted_is_refused() -> None:
    model: Any = BY_NAME["WanTransformer3DModel"].build()
    model.blocks[1].attn1.processor = lambda attn, hidden, *rest: hidden
    with (
        closing(build_frame_subset(model)) as frames,
        pytest.raises(UnsupportedError, match=r"set_attention_backend.*frames=1"),
    ):
        subset(frames, model, BY_NAME["WanTransformer3DModel"].inputs(), ALL)


@pytest.mark.parametrize("sparse_first", [True, False])
def test_sparse_attention_still_runs_at_full_evaluations(sparse_first: bool) -> None:
    tiny = BY_NAME["WanTransformer3DModel"]
    model, inputs = model_of(tiny.name), tiny.inputs()
    config = SparseAttention(min_length=64)
    handle = attach_sparse(model, config, steps=8) if sparse_first else None
    frames = build_frame_subset(model)
    handle = handle or attach_sparse(model, config, steps=8)
    for step, fresh in enumerate((ALL, EVEN, ODD, ALL)):
        with handle.at(step, "a"):
            subset(frames, model, inputs, fresh)
    self_attention = [record for record in handle.records if "attn1" in record.layer]
    assert {(record.step, record.tokens) for record in self_attention} == {(0, VIDEO), (3, VIDEO)}
    assert not any("attn1" in name for name in handle.report()["untouched"])
    if sparse_first:
        frames.close()
        handle.close()
    else:
        handle.close()
        frames.close()
    assert untouched(model)


@named(DITS)
def test_a_cut_attached_after_it_caches_all_frames(tiny: Tiny) -> None:
    model, inputs = model_of(tiny.name), tiny.inputs()
    with closing(build_frame_subset(model)) as frames:
        full = subset(frames, model, inputs, ALL)
        with closing(AttachedBlockCut(model, 1, 0, 0, False)) as cut:

            def forward(copies: int, timesteps: Tensor | None) -> Any:
                return run(model, inputs)

            with frames.select(EVEN, FRAMES, "a"):
                key = cut.evaluate("a", 0.0, forward, torch.zeros(()))[0]
            again = cut.replay("a", (0.0,), forward, torch.zeros(()))
    assert (key - full).abs().max() < 1e-5 and (again - key).abs().max() < 1e-5
    assert untouched(model)


def test_a_model_is_not_copied_meanwhile() -> None:
    model = model_of("WanTransformer3DModel")
    with closing(build_frame_subset(model)), pytest.raises(InputError, match=r"close\(\)"):
        copy.deepcopy(model)
