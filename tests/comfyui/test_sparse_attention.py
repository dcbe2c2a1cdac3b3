"""Sparse attention on a native model: exact at recall 1, sparse below, and gone after the run."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.comfyui.double import Guider, Model, Sampler, attention, load_nodes
from videogen.attention import SparseAttention
from videogen.comfyui.model_runs import find_opener, with_runs
from videogen.comfyui.sparse_attention import KEY, SparseAttentionRun

SIGMAS = torch.tensor([1.0, 0.7, 0.4, 0.0])


def noise() -> torch.Tensor:
    base = torch.randn(1, 4, 1, 16, 32, generator=torch.Generator().manual_seed(1))
    moved = torch.randn(1, 4, 6, 16, 32, generator=torch.Generator().manual_seed(2))
    return base + 0.1 * moved


def attach(model: Model, **config: Any) -> Any:
    settings = SparseAttention(**{"min_length": 128, "query_block": 32, "key_block": 32, **config})
    return with_runs(model, KEY, lambda context: SparseAttentionRun(context, settings))


def sample(model: Any, sampler: str = "euler", *, batched: bool = True) -> Any:
    return Guider(model, batched=batched).sample(Sampler(sampler), SIGMAS, noise())


@pytest.mark.parametrize("batched", [True, False], ids=["one batch", "two calls"])
@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_it_is_exact_at_recall_one(sampler: str, batched: bool) -> None:
    model = Model()
    exact = attach(model, recall=1.0)
    assert torch.equal(sample(exact, sampler, batched=batched), sample(model, sampler, batched=batched))
    report = find_opener(exact, KEY).reports[-1]  # type: ignore[union-attr]
    assert (report["mean_density"], report["steps"], len(report["layers"])) == (1.0, 3, 2)


def test_it_holds_its_recall_below_and_leaves_the_model_as_it_was() -> None:
    model = Model()
    plain, sparse = sample(model), attach(model, recall=0.8, audit="full")
    found, report = sample(sparse), find_opener(sparse, KEY).reports[-1]  # type: ignore[union-attr]
    assert report["mean_density"] < 0.9 and report["least_recall"] >= 0.8
    assert not torch.equal(found, plain)
    assert torch.equal(sample(model), plain)
    assert torch.equal(sample(sparse), found)  # nothing of the first run is left


def test_a_branch_is_what_it_is_in_a_call_of_its_own() -> None:
    sparse = attach(Model(), recall=0.8)
    assert torch.allclose(sample(sparse), sample(sparse, batched=False), atol=1e-5)


def test_what_it_declines_goes_to_the_override_below() -> None:
    calls: list[int] = []

    def other(func: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(args[0].shape[1])
        return func(*args, **kwargs)

    model = Model()
    model.model_options["transformer_options"]["optimized_attention_override"] = other
    plain, exact = sample(model), attach(model, recall=1.0)
    before = len(calls)
    assert torch.equal(sample(exact), plain) and len(calls) == 2 * before
    assert find_opener(exact, KEY).reports[-1]["below"] == "other"  # type: ignore[union-attr]
    sample(attach(model, recall=0.5))
    assert 2 * before < len(calls) < 3 * before  # cross-attention still goes there


def test_it_is_gone_after_an_error() -> None:
    class Broken(Sampler):
        def sample(self, guider: Any, sigmas: Any, extra: Any, *rest: Any) -> Any:
            super().sample(guider, sigmas[:2], extra, *rest)
            raise KeyboardInterrupt

    model = Model()
    plain, sparse = sample(model), attach(model, recall=0.8)
    with pytest.raises(KeyboardInterrupt):
        Guider(sparse).sample(Broken(), SIGMAS, noise())
    assert not find_opener(sparse, KEY).reports  # type: ignore[union-attr]
    assert torch.equal(sample(model), plain) and attention.__name__ == "attention"


def test_the_latest_node_replaces_one_before_it() -> None:
    twice = attach(attach(Model(), recall=0.5), recall=1.0)
    assert torch.equal(sample(twice), sample(Model()))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param(("recall", float("nan"), 0.8), "recall=nan", id="NaN"),
        pytest.param(("recall", 1.5, 0.8), "recall=1.5", id="recall above 1"),
        pytest.param(("adaspa", 0.95, 1.0), "sparsity=1.0", id="nothing left"),
        pytest.param(("radial", 0.95, 0.8), "mode='radial'", id="another mode"),
    ],
)
def test_linked_values_are_checked_in_execute(
    values: tuple[Any, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = load_nodes(monkeypatch, "sparse_attention").AdaptiveSparseAttention
    with pytest.raises(ValueError, match=message):
        node.execute(Model(), *values)
    (model,) = node.execute(Model(), "adaspa", 0.95, 0.8, min_tokens=64).result
    sample(model)
    assert find_opener(model, KEY).reports[-1]["mean_density"] < 1  # type: ignore[union-attr]
