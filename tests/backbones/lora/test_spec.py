"""LoRAs and textual inversions as a request names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from videogen import InputError, Lora, RenderRequest
from videogen.backbones.lora.embedding_spec import Embedding


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a.safetensors", Lora("a.safetensors"), id="a file"),
        pytest.param("a.safetensors:0.8", Lora("a.safetensors", 0.8), id="a weight"),
        pytest.param("a.safetensors:-1.5", Lora("a.safetensors", -1.5), id="the opposite"),
        pytest.param("a.safetensors:0.8@0-0.5", Lora("a.safetensors", 0.8, 0.0, 0.5), id="a span"),
        pytest.param("a.safetensors@.25-1", Lora("a.safetensors", 1.0, 0.25, 1.0), id="a span alone"),
        pytest.param("high=a.safetensors:2", Lora("a.safetensors", 2.0, expert="high"), id="an expert"),
        pytest.param("low=a:b@c-1.safetensors", Lora("a:b@c-1.safetensors", expert="low"), id="signs in a name"),
        pytest.param(Path("a.safetensors"), Lora("a.safetensors"), id="a path"),
        pytest.param({"file": "a.safetensors", "end": 0.5}, Lora("a.safetensors", end=0.5), id="a table"),
    ],
)
def test_forms(text: Any, expected: Lora) -> None:
    assert Lora.from_value(text) == expected and Path(expected.file).is_absolute()
    assert Lora.from_value(expected.to_dict()) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param("", "is not a LoRA", id="nothing"),
        pytest.param(5, "is not a LoRA", id="a number"),
        pytest.param("a.safetensors@0.5-0.5", "give fractions of the steps with 0 <= START < END <= 1", id="no step"),
        pytest.param("a.safetensors@0.5-2", "@0.5-2; give fractions", id="beyond the end"),
        pytest.param({"file": "a", "weight": "x"}, "weight='x' of the LoRA a is not a finite number", id="a text"),
        pytest.param({"file": "a", "weight": float("nan")}, "weight=nan", id="not a number"),
        pytest.param(
            {"file": "a", "expert": "mid"}, "expert='mid' of the LoRA a is unknown; use high or low", id="expert"
        ),
        pytest.param({"file": "a", "wieght": 1}, "unknown key 'wieght'; did you mean 'weight'", id="a typo"),
        pytest.param({"weight": 1}, "has no file", id="no file"),
    ],
)
def test_values_that_are_wrong_are_named(value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Lora.from_value(value)


def test_a_span_is_a_part_of_the_steps() -> None:
    lora = Lora("a", 0.5, 0.25, 0.75)
    assert [lora.weight_at(step, 8) for step in range(8)] == [0, 0, 0.5, 0.5, 0.5, 0.5, 0, 0]
    assert not lora.is_constant and Lora("a").is_constant and Lora("a", 0.0, 0.0, 0.5).is_constant
    halves = Lora("a", 1.0, 0.0, 0.5), Lora("a", 1.0, 0.5, 1.0)
    for steps in range(1, 12):  # spans that meet leave no step out, and no step twice
        assert all(sum(half.weight_at(step, steps) for half in halves) == 1 for step in range(steps))


def test_a_request_holds_and_repeats_them() -> None:
    request = RenderRequest("x", loras=["a.safetensors:0.5"], embeddings=["<cat>=c.safetensors"], shift=5)
    assert request.given_loras == (Lora("a.safetensors", 0.5),)
    assert request.given_embeddings == (Embedding("c.safetensors", "<cat>"),)
    assert RenderRequest.from_dict(request.to_dict()) == request
    assert RenderRequest("x").given_loras == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"loras": "a.safetensors"}, r"must be a list, such as loras=\['style", id="a text for a list"),
        pytest.param({"embeddings": "a"}, "must be a list, such as embeddings", id="the same of embeddings"),
        pytest.param({"embeddings": ["two words=a"]}, "token='two words' of a is not a single word", id="two words"),
        pytest.param({"embeddings": [7]}, "embedding=7 is not an embedding", id="a number"),
        pytest.param({"shift": 0}, "shift=0 must be above 0", id="no shift"),
    ],
)
def test_a_request_refuses_other_values(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RenderRequest("x", **options)
