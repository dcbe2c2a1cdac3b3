"""Load options: the same names for the library, requests and the command line."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import pytest

from videogen.backbones.load_options import LoadOptions
from videogen.backbones.registry import read_model
from videogen.core.errors import InputError
from videogen.engine.engine import Engine
from videogen.request.request import RenderRequest

#: says where a model may come from, not which: no request repeats it
_NOT_REPEATED = {"local_files_only"}


def test_every_option_is_a_keyword_of_load_and_a_field_of_requests() -> None:
    names = {field.name for field in fields(LoadOptions)}
    assert names <= inspect.signature(Engine.load).parameters.keys()
    assert names - _NOT_REPEATED <= {field.name for field in fields(RenderRequest)}


def test_a_request_gives_its_values() -> None:
    request = RenderRequest("a ball", dtype="bfloat16", device="cuda:1", offload="model")
    assert request.load_options(local_files_only=True) == LoadOptions("bfloat16", "cuda:1", "model", True)
    compiled = RenderRequest("a ball", compile="cuda-graphs", channels_last=True)
    assert compiled.load_options() == LoadOptions(compile="cuda-graphs", channels_last=True)


@pytest.mark.parametrize(
    "values",
    [
        {"dtype": "float8"},
        {"device": "gpu"},
        {"device": "cuda:x"},
        {"offload": "disk"},
        {"compile": "graphs"},
        {"channels_last": "yes"},
        {"memory": "12 gigs"},
        {"memory": "12GB", "offload": "model"},
    ],
)
def test_values_that_no_model_can_be_loaded_with_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(values.values()))):
        LoadOptions(**values)


def test_later_options_are_recorded_only_where_they_are_not_at_their_default() -> None:
    model = read_model("embedded")
    assert model is not None

    def resolve(**values: Any) -> dict[str, Any]:
        return RenderRequest("a ball", **values).resolve(model).to_dict()

    plain = resolve()
    assert not {"compile", "channels_last", "validate", "strict"} & plain.keys()
    given = {"compile": True, "channels_last": True, "strict": True}
    assert given.items() <= resolve(**given).items()
    assert resolve(validate=False)["validate"] is False


def test_a_strict_run_validates() -> None:
    with pytest.raises(InputError, match="leave one of them out"):
        RenderRequest("a ball", strict=True, validate=False)
