"""Load options: the same names for the library, requests and the command line."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import pytest

from videogen.backbones.load_options import LoadOptions
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


@pytest.mark.parametrize("values", [{"dtype": "float8"}, {"device": "gpu"}, {"device": "cuda:x"}, {"offload": "disk"}])
def test_values_that_no_model_can_be_loaded_with_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(values.values()))):
        LoadOptions(**values)
