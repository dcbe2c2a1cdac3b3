"""Render requests: values that are refused for every model, plain data, keys of earlier versions."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from videogen.core.errors import InputError
from videogen.motion import Camera
from videogen.request.request import RenderRequest

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


def test_keys_of_earlier_versions_are_read() -> None:
    request = RenderRequest.from_dict(
        {"prompt": PROMPT, "motion": {"kind": "camera", "pan": 4.0}, "motion_picture": "a.png"}
    )
    assert request.first_frame == str(Path("a.png").absolute()) and "motion_picture" not in request.to_dict()
