"""Options of another type or range than a pipeline's call takes: refused before it is loaded, or before its loop."""

from __future__ import annotations

import inspect
from typing import Any

import diffusers
import pytest
import torch

from tests.tiny.table import Tiny, TinyCall, load_rows
from videogen import Engine, InputError, RenderRequest
from videogen.backbones.hosting.arguments import check_options, option_names, parameters_of
from videogen.backbones.hosting.backbone import HostedBackbone
from videogen.backbones.hosting.library_version import has_class
from videogen.backbones.hosting.option_types import check_option
from videogen.backbones.hosting.pipelines import PIPELINES
from videogen.backbones.hosting.refusals import explain_refusal

from .cases import build_engine, request_options

WAN, FRAMEPACK, SANA = "WanImageToVideoPipeline", "HunyuanVideoFramepackPipeline", "SanaVideoPipeline"


def check(name: str, **options: Any) -> None:
    check_options(getattr(diffusers, name), PIPELINES[name], options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        pytest.param(WAN, {"max_sequence_length": "abc"}, "max_sequence_length='abc' .*must be int", id="text: int"),
        pytest.param(WAN, {"max_sequence_length": -5}, "must be at least 1, such as .*512", id="a negative length"),
        pytest.param(WAN, {"max_sequence_length": 2.5}, "must be int", id="part of a token"),
        pytest.param(WAN, {"max_sequence_length": True}, "must be int", id="a switch for a number"),
        pytest.param(WAN, {"max_sequence_length": None}, "must be int", id="nothing for a number"),
        pytest.param(WAN, {"attention_kwargs": "x"}, "attention_kwargs='x' .*must be dict", id="text: dict"),
        pytest.param(WAN, {"prompt_embeds": 5}, "prompt_embeds=5 .*must be Tensor", id="a number: tensor"),
        pytest.param(WAN, {"guidance_scale_2": "x"}, "must be float", id="text: float"),
        pytest.param(WAN, {"guidance_scale_2": float("nan")}, "must be a finite number", id="NaN"),
        pytest.param(
            "LTXPipeline", {"decode_timestep": ["x"]}, r"must be float or list\[float\]", id="a list of texts"
        ),
        pytest.param(FRAMEPACK, {"sampling_type": "x"}, "'vanilla' or 'inverted_anti_drifting'", id="a choice"),
        pytest.param("LTXConditionPipeline", {"denoise_strength": 7}, "must be from 0 to 1", id="a fraction"),
        pytest.param("StableVideoDiffusionPipeline", {"motion_bucket_id": "x"}, "must be int", id="SVD"),
        pytest.param("HeliosPipeline", {"history_sizes": 3}, "must be list", id="a number: list"),
    ],
)
def test_options_of_another_type(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(name, **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param(WAN, {"guidance_scale_2": 3}, id="a whole number for a float"),
        pytest.param(WAN, {"prompt_embeds": torch.zeros(1, 2, 3, dtype=torch.bfloat16)}, id="a tensor of any dtype"),
        pytest.param(
            "CogVideoXPipeline", {"prompt_embeds": torch.zeros(2).half()}, id="torch.FloatTensor: of any dtype"
        ),
        pytest.param(
            "ConsisIDPipeline",
            {"id_vit_hidden": [torch.zeros(2)] * 5},
            id="a tensor: several, which no annotation says",
        ),
        pytest.param(WAN, {"attention_kwargs": {"scale": 1.0}}, id="a dict"),
        pytest.param("LTXPipeline", {"decode_timestep": [0.05, 1]}, id="a list of numbers"),
        pytest.param(SANA, {"complex_human_instruction": None}, id="None where the default is a list"),
        pytest.param("AnimateDiffSDXLPipeline", {"crops_coords_top_left": [0, 0]}, id="a list for a tuple"),
        pytest.param(FRAMEPACK, {"sampling_type": "vanilla"}, id="a choice by its value"),
        pytest.param("PIAPipeline", {"motion_scale": 0}, id="zero where that is the default"),
    ],
)
def test_options_that_a_call_takes(name: str, options: dict[str, Any]) -> None:
    check(name, **options)


def test_every_default_passes_its_own_check() -> None:
    """The defaults of all hosted calls are of the types that their annotations allow, as far as those are right."""
    for name, row in PIPELINES.items():
        if not has_class(row):
            continue
        kind = getattr(diffusers, name)
        for option in option_names(kind, row):
            parameter = parameters_of(kind)[option]
            if parameter.default is not inspect.Parameter.empty:
                check_option(inspect.unwrap(kind.__call__), parameter, parameter.default, name)


def test_modular_inputs_are_checked_by_their_hints() -> None:
    rows: dict[str, Tiny] = load_rows()
    row = next(row for name, row in rows.items() if name == "WanModularPipeline" or name.startswith("LTXModular"))
    pipeline = row.build()
    from videogen.backbones.hosting.modular_pipelines import MODULAR_PIPELINES

    known = MODULAR_PIPELINES[row.name.partition(":")[0]]
    with pytest.raises(InputError, match=r"max_sequence_length='abc' .*must be int"):
        check_options(pipeline, known, {"max_sequence_length": "abc"})


@pytest.fixture(scope="module")
def engine() -> Engine:
    return build_engine(load_rows()[WAN], TinyCall(5, 32, 32))


def options_of(**options: Any) -> dict[str, Any]:
    row = load_rows()[WAN]
    values = request_options(row, TinyCall(5, 32, 32))
    return {**values, "options": {**(values["options"] or {}), **options}}


def test_a_request_with_an_option_of_another_type_is_refused() -> None:
    backbone = HostedBackbone(load_rows()[WAN].build(), WAN, "tiny")
    given = options_of()["image"]
    with pytest.raises(InputError, match=r"must be dict"):
        RenderRequest("a", conditions={"image": given}, options={"attention_kwargs": "x"}).resolve(backbone)


@pytest.mark.parametrize("key", [1, "", None])
def test_options_are_named_by_text(key: Any) -> None:
    with pytest.raises(InputError, match=r"keys are names of the pipeline's arguments"):
        RenderRequest("a red ball", options={key: 2})


def test_what_a_pipeline_refuses_before_its_loop_names_the_options(engine: Engine) -> None:
    """A tensor of the right type whose shape does not fit: the pipeline fails with an error of its own."""
    with pytest.raises(InputError, match=r"refuses the request: .*; check its options: .*image_embeds=Tensor \[2\]"):
        engine.generate("a red ball", **options_of(image_embeds=torch.zeros(2), max_sequence_length=512))


@pytest.mark.parametrize("kind", [TypeError, AttributeError, OverflowError, KeyError, RuntimeError])
def test_errors_without_options_are_not_the_request_s(kind: type[Exception]) -> None:
    with pytest.raises(kind), explain_refusal("WanPipeline", {}):
        raise kind("of the library")
    with pytest.raises(InputError, match=r"WanPipeline refuses the request: .*of the library.*options: a=1"), \
            explain_refusal("WanPipeline", {"a": 1}):  # fmt: skip
        raise kind("of the library")
