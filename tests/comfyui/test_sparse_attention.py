"""Sparse attention on a native model: exact at recall 1, sparse below, and gone after the run."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from tests.comfyui.hosts import Host
from videogen.attention import SparseAttention
from videogen.comfyui.hooks.model_runs import find_opener, with_runs
from videogen.comfyui.native.sparse_attention import KEY, SparseAttentionRun


def attach(comfy: Host, model: Any, **config: Any) -> Any:
    settings = SparseAttention(**{**comfy.sparse, **config})
    return with_runs(model, KEY, lambda context: SparseAttentionRun(context, settings))


def sample(comfy: Host, model: Any, sampler: str = "euler", **options: Any) -> Any:
    return comfy.sample(model, sampler, noise=comfy.long_noise, **options)


def report_of(model: Any) -> dict[str, Any]:
    opener = find_opener(model, KEY)
    assert opener is not None
    report: dict[str, Any] = opener.reports[-1]
    return report


@pytest.mark.parametrize("batched", [True, False], ids=["one batch", "two calls"])
@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_it_is_exact_at_recall_one(comfy: Host, sampler: str, batched: bool) -> None:
    model = comfy.model()
    exact = attach(comfy, model, recall=1.0)
    found = sample(comfy, exact, sampler, batched=batched)
    assert torch.equal(found, sample(comfy, model, sampler, batched=batched))
    report = report_of(exact)
    assert (report["mean_density"], report["steps"]) == (1.0, 3) and report["layers"]


def test_it_holds_its_recall_below_and_leaves_the_model_as_it_was(comfy: Host) -> None:
    model = comfy.model()
    plain, sparse = sample(comfy, model), attach(comfy, model, recall=0.8, audit="full")
    found, report = sample(comfy, sparse), report_of(sparse)
    assert report["mean_density"] < 0.9 and report["least_recall"] >= 0.8
    assert not torch.equal(found, plain)
    assert torch.equal(sample(comfy, model), plain)
    assert torch.equal(sample(comfy, sparse), found)  # nothing of the first run is left


def test_short_sequences_are_reported_with_the_node_s_input(comfy: Host) -> None:
    model = comfy.model()
    short = attach(comfy, model, recall=0.8, min_length=100_000)
    assert torch.equal(sample(comfy, short), sample(comfy, model))
    ((reason, _),) = report_of(short)["dense"].items()
    assert re.fullmatch(r"\d+ tokens are fewer than min_tokens=100000", reason)


def test_a_branch_is_what_it_is_in_a_call_of_its_own(comfy: Host) -> None:
    sparse = attach(comfy, comfy.model(), recall=0.8)
    together, separate = sample(comfy, sparse), sample(comfy, sparse, batched=False)
    assert (together - separate).abs().max() < 1e-4 * together.abs().max()


def test_what_it_declines_goes_to_the_override_below(comfy: Host) -> None:
    calls: list[int] = []

    def other(func: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(args[0].shape[1])
        return func(*args, **kwargs)

    model = comfy.model()
    model.model_options["transformer_options"]["optimized_attention_override"] = other
    plain, exact = sample(comfy, model), attach(comfy, model, recall=1.0)
    before = len(calls)
    assert torch.equal(sample(comfy, exact), plain) and len(calls) == 2 * before
    assert report_of(exact)["below"] == "other"
    sample(comfy, attach(comfy, model, recall=0.5))
    assert 2 * before < len(calls) < 3 * before  # cross-attention still goes there


def test_it_is_gone_after_an_interruption(comfy: Host) -> None:
    model = comfy.model()
    plain, sparse = sample(comfy, model), attach(comfy, model, recall=0.8)
    with pytest.raises(KeyboardInterrupt):
        sample(comfy, sparse, interrupted=True)
    opener = find_opener(sparse, KEY)
    assert opener is not None and not opener.reports
    assert torch.equal(sample(comfy, model), plain)


def test_the_latest_node_replaces_one_before_it(comfy: Host) -> None:
    model = comfy.model()
    twice = attach(comfy, attach(comfy, model, recall=0.5), recall=1.0)
    assert torch.equal(sample(comfy, twice), sample(comfy, model))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param(("recall", float("nan"), 0.8), "recall=nan", id="NaN"),
        pytest.param(("recall", 1.5, 0.8), "recall=1.5", id="recall above 1"),
        pytest.param(("adaspa", 0.95, 1.0), "sparsity=1.0", id="nothing left"),
        pytest.param(("radial", 0.95, 0.8), "mode='radial'", id="another mode"),
    ],
)
def test_linked_values_are_checked_in_execute(comfy: Host, values: tuple[Any, ...], message: str) -> None:
    node = comfy.load_nodes("sparse_attention").AdaptiveSparseAttention
    with pytest.raises(ValueError, match=message):
        node.execute(comfy.model(), *values)


def test_the_node_makes_a_model_sparse(comfy: Host) -> None:
    node = comfy.load_nodes("sparse_attention").AdaptiveSparseAttention
    (model,) = node.execute(comfy.model(), "adaspa", 0.95, 0.8, min_tokens=64).result
    sample(comfy, model)
    assert report_of(model)["mean_density"] < 1
