"""Render requests: values that are refused for every model, plain data, keys of earlier versions."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from videogen.attention.config import SparseAttention
from videogen.core.errors import InputError
from videogen.motion import Camera
from videogen.motion.control import MotionControl
from videogen.propagation.caches import LibraryCache
from videogen.propagation.config import StepCaching
from videogen.request.continuity import Continuity
from videogen.request.field_checks import allowed_types, is_optional
from videogen.request.request import RenderRequest
from videogen.timeline import as_timeline

PROMPT = "a red ball"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"prompt": " "}, "the prompt is empty", id="no prompt"),
        pytest.param({"frames": 0}, "frames=0 must be above 0", id="no frames"),
        pytest.param({"frames": True}, "frames=True must be int", id="a bool for a number"),
        pytest.param({"seed": -1}, "seed=-1 must be from 0", id="a negative seed"),
        pytest.param({"fps": float("nan")}, "fps=nan must be", id="a rate that is not a number"),
        pytest.param({"noise": "white"}, "noise='white' is unknown; use addressed or diffusers", id="an unknown noise"),
        pytest.param({"frames": 9, "seconds": 1.0}, "both set the length", id="two lengths"),
        pytest.param({"first_frame": "x.png"}, "is given without a motion", id="a first frame that nothing warps"),
        pytest.param({"recall": 0.9, "attention": {"recall": 0.8}}, "together with attention", id="recall given twice"),
        pytest.param({"continuity": "replai"}, "did you mean 'replay'", id="a policy with a typo"),
        pytest.param({"story": {0: PROMPT}, "continuity": "off"}, "continuity='off'", id="a story in one clip"),
        pytest.param({"retries": -1}, "retries=-1 must be 0 or more", id="negative retries"),
        pytest.param({"motion": Camera(pan=4), "motion_strength": 2.0}, "from 0", id="more than full motion"),
    ],
)
def test_values_that_suit_no_model_are_refused(values: dict[str, Any], message: str) -> None:
    prompt = {} if "story" in values else {"prompt": PROMPT}
    with pytest.raises(InputError, match=message):
        RenderRequest(**prompt | values)


def test_a_request_is_read_back_from_its_plain_data() -> None:
    request = RenderRequest(PROMPT, frames=9, motion=Camera(pan=4), first_frame="a.png", continuity="cono:overlap=2")
    stored = request.to_dict()
    assert list(stored) == [field.name for field in fields(RenderRequest)]
    assert RenderRequest.from_dict(stored).to_dict() == stored
    assert stored["first_frame"] == str(Path("a.png").absolute())


@pytest.mark.parametrize(
    ("field", "value", "view"),
    [
        pytest.param("attention", SparseAttention(recall=0.9), "sparse_attention", id="sparse attention"),
        pytest.param("attention", SparseAttention.adaspa(), "sparse_attention", id="its other policies"),
        pytest.param("propagate", StepCaching(keys="every:2"), "propagation", id="propagation"),
        pytest.param("propagate", LibraryCache("first-block", 0.0812345678), "propagation", id="a library's cache"),
        pytest.param("motion_backend", MotionControl("dual_clock", weak=0.9123456789, strong=0.5), "motion_control",
                     id="a motion backend"),
        pytest.param("continuity", Continuity("overlap", overlap=3), "continuity", id="continuity"),
        pytest.param("story", as_timeline({0: PROMPT, 9: "a blue ball"}), "timeline", id="a story"),
        pytest.param("motion", Camera(pan=4), "motion_spec", id="a motion"),
    ],
)  # fmt: skip
def test_configuration_objects_are_accepted_and_read_back(field: str, value: object, view: str) -> None:
    values: dict[str, Any] = {"prompt": "" if field == "story" else PROMPT, field: value}
    values |= {"motion": Camera(pan=4)} if field == "motion_backend" else {}
    request = RenderRequest(**values)
    assert getattr(request, view) is value, "the object itself, not a copy of its text"
    again = RenderRequest.from_dict(json.loads(json.dumps(request.to_dict())))
    read = getattr(again, view)
    assert (Continuity.from_value(read) if field == "continuity" else read) == value


def test_each_field_is_checked_for_the_types_that_it_is_annotated_with() -> None:
    """One list of options: `RenderRequest`. The checks at run time and `GenerateOptions` follow it."""
    names = {"float": {"int", "float"}, "PathLike[str]": {"PathLike"}, "None": set()}
    for field in fields(RenderRequest):
        annotated = {name.partition("[")[0] if name not in names else name for name in str(field.type).split(" | ")}
        wanted = set().union(*(names.get(name, {name}) for name in annotated))
        checked = {kind.__name__ for kind in allowed_types(field.name)}
        assert checked == wanted or (field.name == "story" and checked == {"object"})
        assert is_optional(field.name) == ("None" in annotated)


def test_keys_of_earlier_versions_are_read() -> None:
    request = RenderRequest.from_dict(
        {"prompt": PROMPT, "motion": {"kind": "camera", "pan": 4.0}, "motion_picture": "a.png"}
    )
    assert request.first_frame == str(Path("a.png").absolute()) and "motion_picture" not in request.to_dict()
