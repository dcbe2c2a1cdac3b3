"""Options of `Engine.generate`: those of a request, typing errors that are named, seeds of a batch, configurations."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from videogen.core.errors import InputError
from videogen.engine.options import CALL_OPTIONS, GenerateOptions, build_requests
from videogen.request.request import RenderRequest

PROMPT = "a red ball"


def test_the_options_of_generate_are_those_of_a_request() -> None:
    given = {name: getattr(kind, "__forward_arg__", kind) for name, kind in GenerateOptions.__annotations__.items()}
    wanted = {field.name: field.type for field in fields(RenderRequest)}
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
        pytest.param(
            {"attention": 5}, "attention=5 must be str or dict or SparseAttention", id="a number for a configuration"
        ),
    ],
)
def test_options_that_are_wrong_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_requests(PROMPT, options)


def test_each_prompt_of_a_batch_gets_its_own_seed() -> None:
    found = build_requests([PROMPT, "a blue square"], {"seed": np.int64(5), "size": (48, 32), "preview_every": 2})
    assert [(request.prompt, request.seed) for request in found] == [(PROMPT, 5), ("a blue square", 6)]
    assert {(request.width, request.height) for request in found} == {(48, 32)} and build_requests([], {}) == []
