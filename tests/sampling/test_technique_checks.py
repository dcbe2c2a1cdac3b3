"""Techniques of the user: what is no technique is refused before the run, and a report never costs the clip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from videogen import Engine, InputError, Technique, Video
from videogen.sampling.technique import AttachedTechnique
from videogen.sampling.technique_checks import ENGINE_SECTIONS, add_report, check_sections

TINY: dict[str, Any] = {"frames": 5, "size": (32, 32), "steps": 1, "guidance_scale": 1.0}


class Reporting(Technique):
    def __init__(self, report: Any) -> None:
        self._report = report

    def end(self) -> dict[str, Any]:
        return self._report  # type: ignore[no-any-return]


class Attached(AttachedTechnique):
    def __init__(self, section: Any) -> None:
        self.section = section


@pytest.fixture(scope="module")
def embedded() -> Engine:
    return Engine.load("embedded", device="cpu")


@pytest.mark.parametrize(
    ("techniques", "message"),
    [
        pytest.param(["x"], "techniques has 'x', which is not a Technique", id="a name"),
        pytest.param("x", "must be a list of Technique", id="a text"),
        pytest.param(None, "must be a list of Technique", id="None"),
        pytest.param(Technique(), "must be a list of Technique", id="a single one"),
        pytest.param([Reporting], "the class Reporting; make an object", id="a class"),
        pytest.param([Attached("a"), Attached("a")], "section='a'.* is that of .*Attached too", id="one section twice"),
        pytest.param([Attached("prompt")], "is that of the engine", id="a section of the engine"),
        pytest.param([Attached(None)], "section=None", id="no section"),
    ],
)
def test_mistakes_are_refused_before_the_first_step(embedded: Engine, techniques: Any, message: str) -> None:
    steps: list[int] = []
    with pytest.raises(InputError, match=message):
        embedded.generate("a red ball", techniques=techniques, progress=lambda p: steps.append(p.step), **TINY)
    assert not any(steps[2:])


def test_a_section_of_the_request_is_not_reported_twice(embedded: Engine) -> None:
    with pytest.raises(InputError, match="section='attention'"):
        embedded.generate("a red ball", techniques=[Attached("attention")], attention="adaptive", **TINY)


def test_a_clip_is_saved_whatever_its_techniques_report(embedded: Engine, tmp_path: Path) -> None:
    odd = {"mine": {"loss": np.float32(0.5), "model": object()}, "prompt": 1}
    techniques = [Reporting({"mine": 2}), Reporting(odd), Reporting(None), Technique()]
    video = embedded.generate("a red ball", techniques=techniques, **TINY)
    measured = (Video.open(video.save(tmp_path / "a.mp4")).manifest or {})["measured"]
    assert measured["mine"]["loss"] == 0.5 and measured["mine"]["model"].startswith("<object")
    assert measured["mine_2"] == 2 and measured["prompt_2"] == 1 and "limit" in measured["prompt"]
    name = f"{__name__}:Reporting"
    assert measured["techniques"] == [name] * 3 + ["videogen.sampling.technique:Technique"]
    assert all(name in note for note in measured["technique_notes"]) and len(measured["technique_notes"]) == 4


@pytest.mark.parametrize(
    ("report", "recorded"),
    [
        pytest.param({"a": {1: (2, 3)}}, {"a": {1: (2, 3)}}, id="unchanged where it is JSON"),
        pytest.param({"a": {1: 2, "b": 3}}, {"a": {"1": 2, "b": 3}}, id="keys that cannot be sorted"),
        pytest.param({"a": {(1, 2): 3}}, {"a": "{(1, 2): 3}"}, id="keys of no text"),
        pytest.param({3: 4}, {"3": 4}, id="a section of no text"),
        pytest.param({"a": np.ones(3)}, {"a": "array([1., 1., 1.])"}, id="an array"),
    ],
)
def test_reports_become_json(report: dict[Any, Any], recorded: dict[str, Any]) -> None:
    measured: dict[str, Any] = {}
    add_report(measured, Technique(), report)
    measured.pop("technique_notes", None)
    json.dumps(measured, sort_keys=True)
    assert measured == recorded


def test_the_techniques_of_the_engine_have_sections_of_their_own() -> None:
    check_sections([Attached("attention"), Attached("propagation"), Technique()])
    assert not {"attention", "propagation", "dual_clock"} & set(ENGINE_SECTIONS)
