"""Compiled blocks: the same frames, one graph for all blocks, sparse attention within it, a model left as it was."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch._dynamo
import torch._dynamo.utils

from tests.attention.test_attach import call, footprint, small, wan
from videogen import Engine, UnsupportedError
from videogen.attention import attach
from videogen.backbones.acceleration import check_compile
from videogen.techniques import build, compiled_blocks
from videogen.techniques.compiled_blocks import CompiledBlocks, find_repeated_blocks

SMALL: dict[str, Any] = {"frames": 5, "width": 64, "height": 64, "steps": 2, "seed": 1}
SPARSE = {"recall": 0.6, "min_length": 16, "query_block": 4, "key_block": 4, "audit_rows": 32, "dense_steps": 0.5}
PROMPT = "a red ball moves right on a gray background"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """With the graphs of torch.compile, run by torch's own operators: bit for bit what runs without it."""
    monkeypatch.setattr(build, "CompiledBlocks", partial(CompiledBlocks, backend="eager"))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    return Engine.load("embedded", device="cpu", compile=True)


def test_sparse_attention_is_one_operator_of_one_graph_for_all_blocks() -> None:
    model = wan(8.0)
    before = footprint(model)
    with attach(model, small()) as handle:
        expected = [call(model, timestep) for timestep in (900.0, 500.0)]
        report = handle.report()
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    with attach(model, small()) as handle:
        undo = handle.use_operator()
        for block in model.blocks:
            block.compile(backend="eager", fullgraph=True)  # a break in the graph is an error
        found = [call(model, timestep) for timestep in (900.0, 500.0)]
        for block in model.blocks:
            block._compiled_call_impl = None
        assert handle.report() == report and report["mean_density"] < 1
        undo()
    assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert footprint(model) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"attention": SPARSE}, {"propagate": "every:2"}], ids=["", "sparse", "caching"]
)
def test_frames_are_those_of_an_engine_without_it(engine: Engine, options: dict[str, Any]) -> None:
    plain = Engine.load("embedded", device="cpu").generate(PROMPT, **SMALL, **options)
    for validate in (True, False):
        video = engine.generate(PROMPT, **SMALL, **options, validate=validate)
        assert np.array_equal(video.frames, plain.frames)
    assert video.manifest["request"]["compile"] is True and "compile" not in plain.manifest["request"]
    assert video.manifest["measured"]["compiled"]["regions"]
    model = engine.backbone.denoisers()[0]
    assert not any(module._compiled_call_impl for module in model.modules())
    if "attention" in options:
        figures = [clip.manifest["measured"]["attention"]["mean_density"] for clip in (video, plain)]
        assert figures[0] == figures[1] < 1


@pytest.mark.slow
def test_kernels_of_compiled_blocks_are_counted_as_without_it(engine: Engine) -> None:
    plain = Engine.load("embedded", device="cpu").generate(PROMPT, **SMALL, attention=SPARSE)
    video = engine.generate(PROMPT, **SMALL, attention=SPARSE)
    calls = [clip.manifest["measured"]["kernels"]["calls"] for clip in (video, plain)]
    assert calls[0] == calls[1] and calls[0]["sparse-torch"] and calls[0]["sdpa-flash"]


def test_the_blocks_that_a_model_repeats_are_found() -> None:
    model = wan()
    assert find_repeated_blocks(model) == list(model.blocks)
    model._repeated_blocks = None
    assert find_repeated_blocks(model) == list(model.blocks)


def test_what_a_machine_cannot_compile_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnsupportedError, match="compile='cuda-graphs' needs CUDA"):
        Engine.load("embedded", device="cpu", compile="cuda-graphs")
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UnsupportedError, match="needs a C\\+\\+ compiler"):
        check_compile(True, "cpu")
    check_compile(True, "cuda:0")


def test_hooks_are_guarded_while_compiled_code_runs() -> None:
    before = torch._dynamo.config.skip_nnmodule_hook_guards
    with compiled_blocks._compiling(False):
        assert torch._dynamo.config.skip_nnmodule_hook_guards is False
    assert torch._dynamo.config.skip_nnmodule_hook_guards == before


def test_a_vae_with_channels_last_gives_the_same_frames_up_to_rounding() -> None:
    tiny = {**SMALL, "width": 32, "height": 32, "steps": 1}
    plain = Engine.load("embedded", device="cpu").generate(PROMPT, **tiny)
    engine = Engine.load("embedded", device="cpu", channels_last=True)
    video = engine.generate(PROMPT, **tiny)
    assert abs(video.frames.astype(int) - plain.frames).max() <= 1
    assert video.manifest["request"]["channels_last"] is True
    filters = [m.weight for m in engine.backbone.components()["vae"].modules() if isinstance(m, torch.nn.Conv3d)]
    assert filters and all(w.is_contiguous(memory_format=torch.channels_last_3d) for w in filters)
