"""Techniques on hosted pipelines: off is absent, exact is plain, and what cannot be done is refused with the reason."""

from __future__ import annotations

import inspect
import re
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from tests.tiny.table import TinyCall, load_rows
from videogen import Engine, UnsupportedError
from videogen.attention import SparseAttention
from videogen.backbones.anatomy import ANATOMY, FIRST, LAST, NONE, anatomy_of
from videogen.backbones.hosting.backbone import HostedBackbone
from videogen.backbones.hosting.pipelines import PIPELINES
from videogen.core.branch import Branch
from videogen.engine.run import Run
from videogen.request.request import RenderRequest
from videogen.request.resolve import resolve
from videogen.techniques.sparse_attention import SparseAttentionTechnique

ROWS = load_rows()
#: arguments of the tiny rows that the engine's keywords state
ENGINES = (
    "guidance_scale", "true_cfg_scale", "frame_rate", "fps", "target_fps", "min_guidance_scale", "max_guidance_scale",
)  # fmt: skip
BLOCKS: dict[str, Any] = {"min_length": 1, "query_block": 4, "key_block": 2, "rows": None, "audit_rows": 16}
#: text to video, session mode, one per lineage
CORE = ("CogVideoXPipeline", "HunyuanVideoPipeline", "LTXPipeline", "SkyReelsV2Pipeline")
FURTHER = (
    "AllegroPipeline", "AnimateDiffPipeline", "AnyFlowPipeline", "CosmosTextToWorldPipeline", "EasyAnimatePipeline",
    "HunyuanVideo15Pipeline", "Kandinsky5T2VPipeline", "LattePipeline", "MochiPipeline", "MotifVideoPipeline",
    "SanaVideoPipeline", "StableVideoDiffusionPipeline", "TextToVideoSDPipeline", "WanPipeline", "WanVACEPipeline",
)  # fmt: skip
SECTIONS = ("HeliosPipeline", "HeliosPyramidPipeline", "AnyFlowFARPipeline")
each = pytest.mark.parametrize("name", [*CORE, *(pytest.param(name, marks=pytest.mark.slow) for name in FURTHER)])


@lru_cache(maxsize=4)
def engine_of(name: str) -> Engine:
    return Engine(HostedBackbone(ROWS[name].build(), name, ""))


def settings(name: str) -> dict[str, Any]:
    row = ROWS[name]
    frames, width, height = row.sizes[0]
    options = {key: value for key, value in row.options.items() if key not in ENGINES}
    given = row.given(TinyCall(frames, width, height))
    return {"frames": frames, "width": width, "height": height, "options": options or None, "conditions": given or None}


def render(name: str, **more: Any) -> Any:
    return engine_of(name).generate("a red ball", **({"steps": 4, "seed": 1} | settings(name) | more))


@each
def test_sparse_attention(name: str) -> None:
    plain = render(name)
    if reason := engine_of(name).backbone.dense_only:
        with pytest.raises(UnsupportedError, match=re.escape(reason)):
            render(name, attention=SparseAttention(recall=1.0, **BLOCKS))
        return
    for exact in (SparseAttention(recall=1.0, **BLOCKS), SparseAttention.adaspa(0.0, **BLOCKS), "dense"):
        assert np.array_equal(render(name, attention=exact).frames, plain.frames), exact
    half = SparseAttention(sparsity=0.5, dense_steps=0, order="tile", **BLOCKS)
    sparse = render(name, attention=half)
    report = sparse.manifest["measured"]["attention"]
    assert report["mean_density"] < 1 and not np.array_equal(sparse.frames, plain.frames)
    assert np.array_equal(render(name).frames, plain.frames), "something was left on the model"


@each
def test_propagation(name: str) -> None:
    plain = render(name)
    for exact in ({"keys": [0, 1, 2, 3]}, "off"):
        assert np.array_equal(render(name, propagate=exact).frames, plain.frames), exact
    propagated = render(name, propagate="every:2")
    assert propagated.manifest["measured"]["propagation"]["keys"] == [0, 2]
    assert not np.array_equal(propagated.frames, plain.frames)


@each
def test_a_promised_error(name: str) -> None:
    """With a budget that leaves no step to skip, the plain clip."""
    if name == "AllegroPipeline":
        with pytest.raises(UnsupportedError, match="adds noise at each step, for which no error can be promised"):
            render(name, propagate="max_error:0.5")
        return
    plain, exact = render(name), render(name, propagate="max_error:0.000001")
    assert exact.manifest["measured"]["propagation"]["evaluated"] == "4 of 4 steps"
    assert np.array_equal(exact.frames, plain.frames)


@pytest.mark.slow
@pytest.mark.parametrize("name", SECTIONS)
def test_propagation_is_refused_for_clips_in_sections(name: str) -> None:
    for rule in ("every:2", "max_error:0.5"):
        with pytest.raises(UnsupportedError, match="makes a clip in sections, each with steps of its own"):
            render(name, propagate=rule)
    render(name)


class _Lengths(SparseAttentionTechnique):
    """Notes the length of each sequence that attends to itself, text included."""

    def __init__(self) -> None:
        super().__init__(SparseAttention(recall=1.0, **BLOCKS))
        self.lengths: set[int] = set()

    def around(self, row: Any, branch: Branch) -> Any:
        self.lengths |= {record.tokens for record in self.handle.records}
        return super().around(row, branch)


@each
def test_the_anatomy_is_that_of_the_model(name: str) -> None:
    """Self-attention has as many tokens as the table and the configuration say: the video's, of all frames or of one,
    alone or with text."""
    backbone = engine_of(name).backbone
    anatomy = anatomy_of(backbone.denoisers()[0])
    assert anatomy.name in ANATOMY
    if anatomy.dense_only:
        return
    recorded = _Lengths()
    run = Run(
        backbone, [resolve(RenderRequest(prompt="a red ball", steps=2, seed=1, **settings(name)), backbone)], None
    )
    try:
        latents, _ = run.sample([recorded])
    finally:
        run.close()
    grid = backbone.token_grid(latents.shape)
    tokens = grid.height * grid.width if anatomy.per_frame else grid.video_tokens
    assert any(length == tokens if anatomy.text == NONE else length > tokens for length in recorded.lengths), (
        recorded.lengths
    )
    assert anatomy.text in (FIRST, LAST, NONE)


@pytest.mark.slow
def test_each_denoiser_of_a_hosted_pipeline_has_an_anatomy() -> None:
    import diffusers

    missing = set()
    for name in PIPELINES:
        for role, parameter in inspect.signature(getattr(diffusers, name).__init__).parameters.items():
            if role.startswith(("transformer", "unet")):
                found = re.findall(r"\b\w*(?:UNet|Transformer)\w*\b", str(parameter.annotation))
                missing |= {kind for kind in found if kind[0].isupper() and kind not in ANATOMY}
    assert not missing
