"""Sparse attention in the loop, on every family: off is absent, exact is dense, and the promise is recorded in the
manifest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from tests.contract.families import VARIANTS
from videogen import Engine, InputError
from videogen.attention import SparseAttention, attach
from videogen.propagation import attach as attach_propagation

pytestmark = pytest.mark.parametrize("name", VARIANTS)
EngineOf = Callable[[str], Engine]
BLOCKS: dict[str, Any] = {"min_length": 8, "query_block": 4, "key_block": 2, "rows": None, "audit_rows": 16}


def frames(name: str, engine: Engine, **more: Any) -> np.ndarray:
    count, width, height = VARIANTS[name].clips[0]
    return engine.generate("a red ball moves right", frames=count, size=(width, height), steps=3, **more).frames


def test_off_is_absent_and_leaves_nothing(name: str, engine_of: EngineOf) -> None:
    engine = engine_of(name)
    plain = frames(name, engine)
    sparse = frames(name, engine, attention=SparseAttention(recall=0.3, **BLOCKS))
    assert np.array_equal(frames(name, engine, attention="dense"), plain) and np.array_equal(
        frames(name, engine), plain
    )
    assert not np.array_equal(sparse, plain)


@pytest.mark.parametrize("guidance", ["batched", "sequential"])
def test_its_exact_setting_equals_dense_attention(name: str, guidance: str, engine_of: EngineOf) -> None:
    engine = engine_of(name)
    exact = SparseAttention(recall=1.0, **BLOCKS)
    plain = frames(name, engine, guidance_mode=guidance)
    assert np.array_equal(frames(name, engine, attention=exact, guidance_mode=guidance), plain)
    assert np.array_equal(
        frames(name, engine, attention="adaptive", guidance_mode=guidance), plain
    )  # all sequences are short


def test_the_promise_is_recorded_in_the_manifest(name: str, engine_of: EngineOf) -> None:
    count, width, height = VARIANTS[name].clips[0]
    video = engine_of(name).generate(
        "a red ball",
        frames=count,
        size=(width, height),
        steps=3,
        attention=SparseAttention(recall=0.5, audit="full", **BLOCKS),
    )
    report = (video.manifest or {})["measured"]["attention"]
    assert report["promised"] == {"recall": 0.5} and report["steps"] == 3 and report["layers"]
    measured = [value for row in report["exact"] for value in row if value is not None]
    assert measured and min(measured) >= 0.5 and report["mean_density"] < 1
    assert (video.manifest or {})["request"]["attention"]["recall"] == 0.5


def test_an_unknown_spec_is_refused_before_anything_runs(name: str, engine_of: EngineOf) -> None:
    with pytest.raises(InputError, match="use dense, adaptive"):
        frames(name, engine_of(name), attention="fast")


def test_a_pipeline_that_the_user_drives(name: str, checkpoint: Callable[[str], Path]) -> None:
    """Steps, branches and experts are distinguished without the engine's help, and a second run starts afresh."""
    variant = VARIANTS[name]
    pipeline = getattr(diffusers, variant.pipeline).from_pretrained(checkpoint(name))
    pipeline.set_progress_bar_config(disable=True)
    frames, width, height = variant.clips[0]

    def run(prompt: str) -> np.ndarray:
        return pipeline(
            prompt=prompt, num_frames=frames, width=width, height=height, num_inference_steps=3, guidance_scale=4.0,
            generator=torch.Generator().manual_seed(1), output_type="np", **variant.call,
        ).frames  # fmt: skip

    plain = run("a red ball")
    with attach(pipeline, SparseAttention(recall=0.3, **BLOCKS)) as handle:
        sparse = run("a red ball")
        report = handle.report()
        assert report["steps"] == 3 and report["mean_density"] < 1
        run("a blue square")
        assert handle.report()["steps"] == 3
        assert np.array_equal(run("a red ball"), sparse)
    assert np.array_equal(run("a red ball"), plain) and not np.array_equal(sparse, plain)


@pytest.mark.parametrize(
    ("attach_one", "kind"),
    [
        (lambda pipeline: attach(pipeline, SparseAttention(recall=0.3, **BLOCKS)), "sparse attention"),
        (lambda pipeline: attach_propagation(pipeline, "every:2"), "propagation"),
    ],
    ids=["sparse attention", "propagation"],
)
def test_a_handle_on_the_engines_own_pipeline_is_refused(
    name: str, engine_of: EngineOf, attach_one: Callable[[Any], Any], kind: str
) -> None:
    """The request would not name it, so that the manifest of the clip would be wrong."""
    engine = engine_of(name)
    with (
        attach_one(engine.backbone.pipeline),
        pytest.raises(InputError, match=rf"has {kind} attached; close\(\) that handle and let the request"),
    ):
        frames(name, engine)
