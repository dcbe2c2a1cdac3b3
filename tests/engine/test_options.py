"""Options of `Engine.generate`: those of a request, typing errors that are named, seeds of a batch, configurations."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from videogen.core.errors import InputError
from videogen.engine.options import CALL_OPTIONS, CONDITION_OPTIONS, GenerateOptions, build_requests
from videogen.request.request import RenderRequest

PROMPT = "a red ball"


def test_the_options_of_generate_are_those_of_a_request() -> None:
    given = {name: getattr(kind, "__forward_arg__", kind) for name, kind in GenerateOptions.__annotations__.items()}
    wanted = {field.name: field.type for field in fields(RenderRequest)}
    wanted["seed"] = "int | Sequence[int] | None"  # one per prompt, too
    del wanted["prompt"]
    assert {name: kind for name, kind in given.items() if name in wanted} == wanted
    assert list(given) == [*wanted, *CONDITION_OPTIONS, "size", *CALL_OPTIONS]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"frame": 9}, "unknown option 'frame'; did you mean 'frames'?", id="a typo"),
        pytest.param({"stpes": 9}, "did you mean 'steps'?", id="transposed letters"),
        pytest.param({"prompts": "x"}, "unknown option 'prompts'", id="not an option"),
        pytest.param({"size": (32, 32), "width": 32}, "both set the frame size", id="two widths"),
        pytest.param(
            {"seed": [1, 2]},
            r"seed=\[1, 2\] has 2 values, and the number of prompts is 1",
            id="more seeds than prompts",
        ),
        pytest.param({"seed": "x"}, "seed='x' must be int", id="a text for a seed"),
        pytest.param({"seed": ["x"]}, "seed='x' must be int", id="a text among seeds"),
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
    assert {(request.width, request.height) for request in found} == {(48, 32)}


@pytest.mark.parametrize(
    ("prompt", "seed", "seeds"),
    [
        pytest.param([PROMPT, PROMPT], [7, 3], [7, 3], id="one per prompt"),
        pytest.param((PROMPT, PROMPT), np.array([7, 3]), [7, 3], id="an array"),
        pytest.param(PROMPT, [7], [7], id="a list of one"),
        pytest.param([PROMPT, PROMPT], 4, [4, 5], id="the first one's"),
    ],
)
def test_seeds(prompt: Any, seed: Any, seeds: list[int]) -> None:
    assert [request.seed for request in build_requests(prompt, {"seed": seed})] == seeds


def test_a_seed_of_none_is_drawn_once_and_recorded() -> None:
    one, two = build_requests([PROMPT, PROMPT], {"seed": None})
    assert isinstance(one.seed, int) and two.seed == one.seed + 1 and one.to_dict()["seed"] == one.seed
    assert len({RenderRequest(PROMPT, seed=None).seed for _ in range(5)}) > 1
    assert replace(one, steps=3).seed == one.seed


@pytest.mark.parametrize("prompt", [pytest.param([], id="empty"), pytest.param(5, id="a number"), [PROMPT, None]])
def test_a_prompt_is_a_text_or_several(prompt: object) -> None:
    with pytest.raises(InputError, match="prompt="):
        build_requests(prompt, {})
