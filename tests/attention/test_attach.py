"""Attaching: bit-identical where nothing is left out, removed without a trace, and no state is shared."""

from __future__ import annotations

import copy
import pickle
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel
from torch import nn

from videogen import InputError, UnsupportedError
from videogen.attention import SparseAttention, attach, detach
from videogen.attention.policies.adaspa import AdaSpaPolicy

TOKENS = 4 * 8 * 8


def wan(sharpness: float = 1.0, seed: int = 0) -> WanTransformer3DModel:
    """A tiny model; `sharpness` scales its queries, so that attention concentrates as in a trained one."""
    torch.manual_seed(seed)
    model = WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=24, in_channels=4, out_channels=4, text_dim=16,
        freq_dim=16, ffn_dim=32, num_layers=2, rope_max_seq_len=64,
    ).eval()  # fmt: skip
    for block in model.blocks:
        block.attn1.norm_q.weight.data *= sharpness
    return model


def call(model: nn.Module, timestep: float = 500.0, frames: int = 4, seed: int = 1, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    bands = torch.randn(batch, 4, frames, 4, 1, generator=generator).repeat_interleave(
        4, 3
    )  # a block of tokens is one band
    latents = bands + 0.05 * torch.randn(batch, 4, frames, 16, 16, generator=generator)
    text = torch.randn(batch, 8, 16, generator=generator)
    with torch.inference_mode():
        return model(latents, torch.full((batch,), timestep), text, return_dict=False)[0]


def small(**options: Any) -> SparseAttention:
    defaults = {"min_length": 64, "query_block": 16, "key_block": 16, "audit_rows": TOKENS, "rows": 4}
    return SparseAttention(**{**defaults, **options})


def footprint(model: nn.Module) -> list[object]:
    """What attaching could leave behind."""
    modules: list[Any] = list(model.modules())
    return [
        *(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._forward_hooks_always_called) for m in modules),
        *([*sorted(vars(m.processor)), type(m.processor).__name__] for m in modules if hasattr(m, "processor")),
        *(getattr(m.forward, "__func__", m.forward) for m in modules),
    ]


@pytest.mark.parametrize(
    "config",
    [small(min_length=10_000), small(dense_steps=1.0), small(recall=0.999999)],
    ids=["too short", "all steps dense", "nothing to leave out"],
)
def test_pass_through_is_bit_identical(config: SparseAttention) -> None:
    model = wan()
    plain = call(model)
    with attach(model, config, steps=4):
        assert torch.equal(call(model), plain)


@pytest.mark.parametrize("order", ["raster", "tile"])
def test_density_one_equals_plain(order: str) -> None:
    model = wan()
    plain = call(model)
    config = small(recall=None, sparsity=0.0, policy="window", order=order)
    with attach(model, config) as handle:
        assert (call(model) - plain).abs().max() < 1e-5
        assert handle.report()["mean_density"] == 1.0 and not handle.report()["dense"]


def test_close_leaves_no_trace() -> None:
    model = wan(8.0)
    before, plain = footprint(model), call(model)
    handle = attach(model, small())
    assert footprint(model) != before
    call(model)
    handle.close()
    assert footprint(model) == before and torch.equal(call(model), plain)


def test_an_error_within_the_model_leaves_it_usable() -> None:
    model = wan(8.0)
    with attach(model, small()) as handle:
        with pytest.raises(RuntimeError):
            model(torch.zeros(1, 4, 4, 16, 16), torch.tensor([1.0]), torch.zeros(1, 8, 99), return_dict=False)
        handle.reset()
        sparse = call(model)
    with attach(model, small()):
        assert torch.equal(call(model), sparse)


@pytest.mark.parametrize("order", ["raster", "tile"])
def test_the_promise_is_met_in_a_full_audit(order: str) -> None:
    model = wan(8.0)
    with attach(model, small(recall=0.9, audit="full", order=order), steps=4) as handle:
        for timestep in (1000.0, 800.0, 500.0, 200.0):
            call(model, timestep, seed=int(timestep))
        report = handle.report()
    assert report["least_recall"] >= 0.9 and report["mean_density"] < 0.9
    assert report["steps"] == 4 and report["layers"] == ["blocks.0.attn1", "blocks.1.attn1"]
    assert report["tokens"] == TOKENS and set(report["untouched"]) == {"blocks.0.attn2", "blocks.1.attn2"}


def test_a_map_is_used_again_while_it_fits_and_then_searched_again() -> None:
    model = wan(8.0)
    with attach(model, small(recall=0.8)) as handle:
        for timestep in (900.0, 899.0, 898.0, 897.0, 896.0):
            call(model, timestep)  # the same latents: the map still fits
        assert handle.report()["searches"] == [[1, 1, 0, 1, 0]] * 2  # at ever longer intervals
        call(model, 400.0, seed=99)  # other latents: the audit rejects the map
        assert all(row[5] >= 1 for row in handle.report()["searches"]) and handle.report()["least_recall"] >= 0.8


def test_adaspa_searches_at_its_steps() -> None:
    model = wan(8.0)
    config = SparseAttention.adaspa(0.8, min_length=64, query_block=16, key_block=16)
    plain = [call(model, 1000.0 - 100 * i, seed=i) for i in range(10)]
    with attach(model, config, steps=10) as handle:
        outputs = [call(model, 1000.0 - 100 * i, seed=i) for i in range(10)]
        report = handle.report()
    searched = [1 if step in (1, 5) else 0 for step in range(10)]
    assert report["searches"] == [searched, searched]
    assert [torch.equal(a, b) for a, b in zip(plain, outputs, strict=True)] == [True] * 2 + [False] * 8
    assert report["density"][0][:2] == [1.0] * 2 and all(0.15 < d < 0.3 for d in report["density"][0][2:])


@pytest.mark.parametrize(
    ("options", "steps", "expected"),
    [
        ({}, 50, [9, 29]),
        ({}, 4, [0, 1]),
        ({"search_at": (0.5,)}, 2, [0]),
        ({"dense_steps": 0.5}, 10, [4, 5]),
        ({"search_at": (0.0, 0.6), "dense_steps": 0.0}, 50, [0, 29]),
    ],
    ids=[
        "as published: 10 dense steps, searches in the 10th and in the 30th",
        "4 steps",
        "2 steps",
        "longer warm-up",
        "no warm-up",
    ],
)
def test_search_steps_of_adaspa(options: dict[str, Any], steps: int, expected: list[int]) -> None:
    assert AdaSpaPolicy(SparseAttention.adaspa(0.8, **options)).search_steps(steps) == expected


def test_guidance_branches_do_not_share_state() -> None:
    """Two calls at one timestep are two branches: the second searches for itself."""
    model = wan(8.0)
    with attach(model, small(recall=0.8)) as handle:
        for timestep in (900.0, 899.0, 898.0):
            call(model, timestep, seed=1)
            call(model, timestep, seed=2)
        found = [(r.step, r.branch, r.searched) for r in handle.records if r.layer == "blocks.0.attn1"]
    assert found == [(step, branch, step < 2) for step in range(3) for branch in ("0", "1")]


def test_a_new_run_a_new_size_and_another_model_start_without_state() -> None:
    one, two = wan(8.0), wan(8.0, seed=5)
    with attach(one, small()) as first, attach(two, small()) as second:
        call(one, 900.0), call(one, 500.0), call(two, 900.0)
        assert len(first.records) == 4 and len(second.records) == 2
        alone = call(two, 500.0)
        call(one, 900.0)  # a rising timestep: a new run
        assert {record.step for record in first.records} == {0} and len(first.records) == 2
        call(one, 500.0, frames=3)  # another size within what looks like a run
        assert {record.tokens for record in first.records} == {3 * 64}
        assert len(second.records) == 4
    with attach(two, small()):
        call(two, 900.0)
        assert torch.equal(call(two, 500.0), alone)


def test_step_and_branch_are_those_that_the_engine_states() -> None:
    model = wan(8.0)
    with attach(model, small(), steps=7) as handle, handle.at(3, "cond"):
        call(model)
    assert {(record.step, record.branch) for record in handle.records} == {(3, "cond")}


@pytest.mark.parametrize("timesteps", [(900.0, 600.0, 300.0), (0.0, 300.0, 600.0)], ids=["down", "up, as in Mochi"])
def test_steps_are_counted_from_timesteps_in_either_direction(timesteps: tuple[float, ...]) -> None:
    model = wan(8.0)
    with attach(model, small()) as handle:
        for _ in range(2):  # the second run starts without state
            for timestep in timesteps:
                call(model, timestep)
            assert [r.step for r in handle.records if r.layer == "blocks.0.attn1"] == [0, 1, 2]


def test_calls_with_gradients_stay_dense_and_are_reported() -> None:
    model = wan(8.0)
    with attach(model, small()) as handle:
        call(model, 900.0)
        model(torch.randn(1, 4, 4, 16, 16), torch.tensor([500.0]), torch.randn(1, 8, 16), return_dict=False)
        report = handle.report()
    assert report["dense"] == {"gradients are being recorded": 2} and [row[1] for row in report["density"]] == [
        1.0,
        1.0,
    ]


class Lone(nn.Module):
    """A model of one attention call, with the arguments that a test gives it."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.attention, self.options = LoneAttention(), options

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.attention(hidden_states, self.options)


class LoneAttention(nn.Module):
    processor = None

    def forward(self, hidden_states: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
        x = hidden_states.unflatten(2, (2, -1)).transpose(1, 2)
        return torch.nn.functional.scaled_dot_product_attention(x, x, x, **options)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"is_causal": True}, "causal attention"),
        ({"dropout_p": 0.5}, "dropout"),
        ({"attn_mask": torch.ones(128, 128, dtype=torch.bool).tril()}, "more than key padding"),
        ({"attn_mask": torch.zeros(128, 128)}, "more than key padding"),
    ],
    ids=["causal", "dropout", "triangular mask", "additive mask"],
)
def test_calls_that_no_block_map_can_express_stay_dense(options: dict[str, Any], reason: str) -> None:
    model, x = Lone(**options), torch.randn(1, 128, 32)
    with torch.no_grad(), attach(model, small()) as handle:
        torch.manual_seed(0)
        attached = model(x)
        (recorded,) = handle.report()["dense"]
    torch.manual_seed(0)
    assert reason in recorded and torch.equal(attached, model(x))


def test_a_second_handle_a_compiled_model_and_copies_are_refused() -> None:
    model = wan()
    with attach(model, small()) as handle:
        with pytest.raises(InputError, match="already"):
            attach(model, small())
        for use in (copy.deepcopy, pickle.dumps):
            with pytest.raises(InputError, match=r"close\(\) the handle"):
                use(model)
        handle.close()
        handle.close()
    copy.deepcopy(model)
    model.compile(backend="eager")
    with pytest.raises(InputError, match="compiled"):
        attach(model, small())
    with pytest.raises(InputError, match="compiled"):
        attach(torch.compile(wan(), backend="eager"), small())


def test_a_named_backend_that_cannot_take_the_call_is_an_error() -> None:
    model = wan(8.0)
    with attach(model, small(backend="flex")), pytest.raises(UnsupportedError, match="flex"):
        call(model)


def test_another_attention_backend_is_replaced_and_restored() -> None:
    from diffusers.models.attention_dispatch import AttentionBackendName

    model = wan(8.0)
    for block in model.blocks:
        block.attn1.processor._attention_backend = AttentionBackendName._NATIVE_MATH
    plain = call(model)
    with attach(model, small(min_length=10**4)):
        assert torch.equal(call(model), plain)  # dense calls retain their backend
    with attach(model, small()) as handle:
        call(model)
        assert len(handle.records) == 2
        handle.close()
    assert all(block.attn1.processor._attention_backend == AttentionBackendName._NATIVE_MATH for block in model.blocks)


@pytest.mark.parametrize(
    ("target", "config", "match"),
    [
        (nn.Linear(2, 2), None, "no attention processors"),
        (object(), None, "no UNet or transformer"),
        (wan(), SparseAttention.adaspa(), r"steps=N"),
        (wan(), SparseAttention(dense_steps=0.2), r"steps=N"),
        (wan(), "dense", "nothing attached"),
        (wan(), "adaptiv", "is unknown"),
        (wan(), 0.95, "must be a SparseAttention"),
    ],
    ids=[
        "a plain module",
        "no model",
        "adaspa without steps",
        "dense steps without steps",
        "dense",
        "unknown spec",
        "a number",
    ],
)
def test_targets_and_configurations_that_cannot_be_attached_are_refused(
    target: object, config: Any, match: str
) -> None:
    with pytest.raises(InputError, match=match):
        attach(target, config)


def test_nan_propagates_as_in_the_plain_model() -> None:
    model = wan(8.0)
    model.blocks[0].attn1.to_v.weight.data[0, 0] = torch.nan
    plain = call(model)
    with attach(model, small()):
        assert torch.equal(call(model).isnan(), plain.isnan()) and plain.isnan().any()


def test_code_compiled_for_it_runs_it_after_another_instance_was_compiled() -> None:
    """Dynamo skips guards on hooks, so that it would run the other instance's code, without them, for this one."""
    torch._dynamo.reset()
    other, model, x = Lone(), Lone(), torch.randn(1, 128, 32)
    with torch.no_grad():
        other.compile(backend="eager")
        other(x)
        with attach(model, small(min_length=10**4)) as handle:
            model.compile(backend="eager")
            model(x)
            assert handle.report()["dense"] == {"128 tokens are fewer than min_length=10000": 1}


def test_a_model_of_which_only_other_parts_are_compiled_is_taken() -> None:
    model = wan(8.0)
    for block in model.blocks:
        block.ffn._compiled_call_impl = block.ffn._call_impl
    with attach(model, small()) as handle:
        call(model)
        assert len(handle.records) == 2
    model.blocks[1].attn1._compiled_call_impl = None
    model.blocks[1]._compiled_call_impl = model.blocks[1]._call_impl
    with pytest.raises(InputError, match="compiled"):
        attach(model, small())


class LinearAttention(LoneAttention):
    def forward(self, hidden_states: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
        return hidden_states @ (hidden_states.mT @ hidden_states)


class Both(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.softmax = LinearAttention(), LoneAttention()

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.softmax(self.linear(hidden_states, {}), {})  # type: ignore[no-any-return]


def test_a_model_without_softmax_attention_is_refused_at_its_first_call() -> None:
    model, x = Lone(), torch.randn(1, 128, 32)
    model.attention = LinearAttention()
    with attach(model, small()), pytest.raises(UnsupportedError, match="none of the 1 attention layers of Lone calls"):
        model(x)
    with torch.no_grad(), attach(both := Both(), small()) as handle:
        both(x)
        assert handle.report()["untouched"] == {"linear": "no softmax self-attention"}
        assert handle.report()["layers"] == ["softmax"]


def test_code_that_runs_none_of_the_attached_layers_is_an_error() -> None:
    model, x = Lone(), torch.randn(1, 128, 32)
    with attach(model, small()) as handle:
        for hooks in (model.attention._forward_pre_hooks, model.attention._forward_hooks):
            hooks.clear()  # compiled code may not look at them
        with pytest.raises(UnsupportedError, match="attach first, then compile"):
            model(x)
        with pytest.raises(InputError, match="no attached model was called at step 2"), handle.at(2, "cond"):
            Lone()(x)


def test_a_lost_handle_is_detached_by_the_model() -> None:
    model = wan(8.0)
    before = footprint(model)
    attach(model, small())
    with pytest.raises(InputError, match=r"attached already; close\(\) that handle first, or detach\(\) the model"):
        attach(model, small())
    assert detach(SimpleNamespace(components={"transformer": model}))
    assert footprint(model) == before and not detach(model)


@pytest.mark.parametrize("audit", ["sampled", "full"])
def test_the_report_says_which_fraction_of_rows_retains_under_half_of_its_mass(audit: str) -> None:
    """The promise is a mean over rows: at a recall of 0.6 some rows of a sharp model retain almost nothing."""
    model = wan(8.0)
    with attach(model, small(recall=0.6, audit=audit)) as handle:
        call(model)
        report = handle.report()
    assert report["least_recall"] >= 0.6 and 0 < report["rows_below_half"] < 0.5
    with attach(model, small(recall=0.999)) as handle:
        call(model)
        assert not handle.report()["rows_below_half"]
