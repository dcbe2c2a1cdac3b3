"""The techniques on every native video family of the real ComfyUI: exact where they must be, and with an effect."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.comfyui.real_host.families import FAMILIES, VARIANTS, Family, build, sample
from videogen.attention import AttentionRun, SparseAttention
from videogen.comfyui.hooks.model_runs import find_opener, with_runs
from videogen.comfyui.native.propagation import KEY as PROPAGATION
from videogen.comfyui.native.propagation import PropagatedRun
from videogen.comfyui.native.sparse_attention import KEY as SPARSE
from videogen.comfyui.native.sparse_attention import SparseAttentionRun
from videogen.propagation import StepCaching

STEPS = 10


@pytest.fixture(params=FAMILIES + VARIANTS, ids=lambda family: family.id)
def family(request: Any) -> Family:
    row: Family = request.param
    return row


def report_of(model: Any, key: str) -> dict[str, Any]:
    opener = find_opener(model, key)
    assert opener is not None
    report: dict[str, Any] = opener.reports[-1]
    return report


def are_equal(found: list[torch.Tensor], expected: list[torch.Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def count_attention(model: Any) -> list[str]:
    """A list that gets an entry per call of attention, through an override of another pack."""
    calls: list[str] = []

    def count(func: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(func.__name__)
        return func(*args, **kwargs)

    model.model_options.setdefault("transformer_options", {})["optimized_attention_override"] = count
    return calls


def test_sparse_attention_reaches_each_layer_and_keeps_other_tokens_exact(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attach(recall: float) -> Any:
        config = SparseAttention(recall=recall, min_length=16, query_block=16, key_block=16)
        return with_runs(model, SPARSE, lambda context: SparseAttentionRun(context, config))

    given: set[Any] = set()
    attend = AttentionRun.attend_batch

    def spy(self: Any, *args: Any, **kwargs: Any) -> Any:
        given.add((kwargs["exact_tokens"], args[3].video_tokens, args[4].shape[2]))
        return attend(self, *args, **kwargs)

    monkeypatch.setattr(AttentionRun, "attend_batch", spy)
    model = build(family)
    plain, exact, sparse = sample(family, model), attach(1.0), attach(0.5)
    assert all(part.isfinite().all() for part in plain)
    assert are_equal(sample(family, exact), plain)
    assert len(report_of(exact, SPARSE)["layers"]) == family.layers
    found, report = sample(family, sparse), report_of(sparse, SPARSE)
    assert not are_equal(found, plain) and report["mean_density"] < 0.8 and report["least_recall"] >= 0.5
    ((exact_tokens, video, length),) = given
    assert sum(exact_tokens) == family.exact == length - video
    assert are_equal(sample(family, model), plain)


def test_propagation_is_exact_or_saves_evaluations(family: Family) -> None:
    def attach(rule: str) -> Any:
        return with_runs(model, PROPAGATION, lambda context: PropagatedRun(context, StepCaching(keys=rule)))

    model = build(family)
    calls = count_attention(model)
    plain, half = sample(family, model, STEPS), attach("every:2")
    full = len(calls)
    assert are_equal(sample(family, attach("every:1"), STEPS), plain) and len(calls) == 2 * full
    found, report = sample(family, half, STEPS), report_of(half, PROPAGATION)
    assert len(report["keys"]) == STEPS / 2 and len(calls) == 2.5 * full
    for one, other in zip(found, plain, strict=True):
        assert 0 < (one - other).norm() / other.norm() < 0.8
    assert are_equal(sample(family, model, STEPS), plain)
