"""Render requests: what is refused for every model, keys of earlier versions, and the options of `Engine.generate`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from videogen.attention.config import SparseAttention
from videogen.core.errors import InputError
from videogen.engine.options import CALL_OPTIONS, GenerateOptions, build_requests
from videogen.motion import Camera
from videogen.propagation.config import EncoderPropagation
from videogen.request.request import RenderRequest

PROMPT = "a red ball"
#: Options that `generate` also takes as configuration objects.
WIDER = {"attention": " | SparseAttention", "propagate": " | EncoderPropagation"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"prompt": " "}, "the prompt is empty", id="no prompt"),
        pytest.param({"frames": 0}, "frames=0 must be above 0", id="no frames"),
        pytest.param({"frames": True}, "frames=True must be int", id="a truth value for a number"),
        pytest.param({"seed": -1}, "seed=-1 must be from 0", id="a negative seed"),
        pytest.param({"fps": float("nan")}, "fps=nan must be", id="a rate that is not a number"),
        pytest.param({"noise": "white"}, "noise='white' is unknown; use addressed or diffusers", id="another noise"),
        pytest.param({"frames": 9, "seconds": 1.0}, "both set the length", id="two lengths"),
        pytest.param({"first_frame": "x.png"}, "is given without a motion", id="a first frame that nothing warps"),
        pytest.param({"recall": 0.9, "attention": {"recall": 0.8}}, "together with attention", id="two recalls"),
        pytest.param({"continuity": "replai"}, "did you mean 'replay'", id="a policy with a typo"),
        pytest.param({"story": {0: PROMPT}, "continuity": "off"}, "continuity='off'", id="a story in one clip"),
        pytest.param({"retries": -1}, "retries=-1 must be 0 or more", id="negative retries"),
        pytest.param({"motion": Camera(pan=4), "motion_strength": 2.0}, "from 0", id="more than full motion"),
    ],
)
def test_a_request_that_is_wrong_for_every_model_is_refused(values: dict[str, Any], message: str) -> None:
    prompt = {} if "story" in values else {"prompt": PROMPT}
    with pytest.raises(InputError, match=message):
        RenderRequest(**prompt | values)


def test_a_request_is_read_back_from_its_plain_data() -> None:
    request = RenderRequest(PROMPT, frames=9, motion=Camera(pan=4), first_frame="a.png", continuity="cono:overlap=2")
    stored = request.to_dict()
    assert list(stored) == [field.name for field in fields(RenderRequest)]
    assert RenderRequest.from_dict(stored).to_dict() == stored
    assert stored["first_frame"] == str(Path("a.png").absolute())


def test_keys_of_earlier_versions_are_read() -> None:
    request = RenderRequest.from_dict(
        {"prompt": PROMPT, "motion": {"kind": "camera", "pan": 4.0}, "motion_picture": "a.png"}
    )
    assert request.first_frame == str(Path("a.png").absolute()) and "motion_picture" not in request.to_dict()


def test_the_options_of_generate_are_those_of_a_request() -> None:
    given = {name: getattr(kind, "__forward_arg__", kind) for name, kind in GenerateOptions.__annotations__.items()}
    wanted = {field.name: f"{field.type}{WIDER.get(field.name, '')}" for field in fields(RenderRequest)}
    del wanted["prompt"]
    assert {name: kind for name, kind in given.items() if name in wanted} == wanted
    assert list(given)[: len(wanted)] == list(wanted) and list(given)[len(wanted) :] == ["size", *CALL_OPTIONS]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"frame": 9}, "unknown option 'frame'; did you mean 'frames'?", id="a typo"),
        pytest.param({"stpes": 9}, "did you mean 'steps'?", id="transposed letters"),
        pytest.param({"prompts": "x"}, "unknown option 'prompts'", id="not an option"),
        pytest.param({"size": (32, 32), "width": 32}, "both set the frame size", id="two widths"),
        pytest.param({"size": 32}, r"size=32 must be \(width, height\)", id="one side"),
        pytest.param({"attention": 5}, "attention=5 must be a text", id="a number for a configuration"),
    ],
)
def test_options_that_are_wrong_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_requests(PROMPT, options)


def test_each_prompt_of_a_batch_gets_its_own_seed() -> None:
    found = build_requests([PROMPT, "a blue square"], {"seed": np.int64(5), "size": (48, 32), "preview_every": 2})
    assert [(request.prompt, request.seed) for request in found] == [(PROMPT, 5), ("a blue square", 6)]
    assert {(request.width, request.height) for request in found} == {(48, 32)} and build_requests([], {}) == []


def test_configuration_objects_are_stored_as_their_fields() -> None:
    (request,) = build_requests(PROMPT, {"attention": SparseAttention(recall=0.9), "propagate": EncoderPropagation()})
    assert request.sparse_attention() == SparseAttention(recall=0.9) and request.propagation() == EncoderPropagation()
    assert isinstance(request.attention, dict) and isinstance(request.propagate, dict)
