"""Recall of sparse attention on the embedded weights, under a full audit at 128 px."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.comfyui.real import Real
from videogen.attention import SparseAttention
from videogen.comfyui.hooks.model_runs import find_opener, with_runs
from videogen.comfyui.native.sparse_attention import KEY, SparseAttentionRun

STEPS = 20


@pytest.mark.slow
@pytest.mark.parametrize(("recall", "density"), [(0.8, 0.75), (0.9, 0.9), (0.95, 0.97)])
def test_it_is_held_in_each_call(
    recall: float, density: float, record_testsuite_property: Callable[[str, object], None]
) -> None:
    real = Real()
    model, config = real.model(), SparseAttention(recall=recall, audit="full", **real.sparse)
    sparse = with_runs(model, KEY, lambda context: SparseAttentionRun(context, config))
    found, plain = (real.sample(one, noise=real.long_noise, steps=STEPS) for one in (sparse, model))
    opener = find_opener(sparse, KEY)
    assert opener is not None
    report = opener.reports[-1]
    error = float((found - plain).norm() / plain.norm())
    record_testsuite_property(f"recall {recall}", (report["least_recall"], report["mean_density"], round(error, 4)))
    assert report["least_recall"] >= recall and report["mean_density"] < density
    assert torch.isfinite(found).all() and error < 0.5
