"""Targets and results of techniques, and techniques that do nothing: in messages, manifests, `inspect` and reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from videogen import RenderRequest
from videogen.backbones.registry import load_outline
from videogen.configs import load_preset
from videogen.media.metadata import read_manifest
from videogen.propagation import StepCaching
from videogen.propagation.build_controller import build_controller
from videogen.propagation.run_schedule import read_schedule
from videogen.techniques.effects import measured_no_effect

SMALL = ("--size", "32x32", "--steps", "4")
FORMS = {"a clip": ("--frames", "5"), "a long video": ("--frames", "33", "--window", "9", "--continuity", "replay")}


def measured(path: str) -> dict[str, Any]:
    return (read_manifest(Path(path)) or {})["measured"]


@pytest.mark.parametrize("form", FORMS)
def test_what_has_no_effect_is_said_before_the_run_and_recorded(run: Run, tiny: Path, form: str) -> None:
    flags = ("--attention", "adaptive", "--propagate", "max_error:0.000001", "--report", "r.html")
    outcome = run("render", "a red ball", "--model", tiny, *SMALL, *FORMS[form], *flags, "-o", "a.mp4")
    assert outcome.code == 0 and outcome.err.count("has no effect here, because") == 2
    tokens = 8 if form == "a clip" else 12
    assert f"attention has no effect here, because a clip has {tokens} tokens" in outcome.err
    assert "stays dense below min_length=4,096" in outcome.err and "leaves hardly a step of 4 to skip" in outcome.err
    assert outcome.err.index("no effect") < outcome.err.index("frames, 32x32"), "before the render's last line"
    found = measured("a.mp4")["no_effect"]
    assert set(found) == {"attention", "propagation"} and "steps were evaluated" in found["propagation"]
    assert "no_effect attention" in run("inspect", "a.mp4").out and "No effect</h2>" in Path("r.html").read_text()
    repeated = json.loads(run("render", "--like", "a.mp4", "-o", "b.mp4", "--json").out)
    assert len([note for note in repeated["notes"] if "no effect" in note]) == 2


@pytest.mark.parametrize("form", FORMS)
def test_targets_and_results_are_in_one_place_for_any_length(run: Run, tiny: Path, form: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[attention]\nrecall = 0.6\nmin_length = 8\nquery_block = 16\nkey_block = 16\n")
    flags = ("--config", "c.toml", "--propagate", "every:2", "--report", "r.html")
    assert run("render", "a red ball", "--model", tiny, *SMALL, *FORMS[form], *flags, "-o", "a.mp4").code == 0
    found = measured("a.mp4")
    assert found["attention"]["promised"] == {"recall": 0.6} and 0.6 <= (found["attention"]["least_recall"] or 1) <= 1
    assert 0 < found["attention"]["mean_density"] <= 1
    segments = len(found["long"]["segments"]) if "long" in found else 1
    assert found["propagation"]["evaluated"] == f"{2 * segments} of {4 * segments} steps"
    assert found["propagation"]["promised"]["keys"] == "every:2"
    printed, page = run("inspect", "a.mp4").out, Path("r.html").read_text()
    for text in ("attention promised", "attention least_recall", "propagation promised", "propagation evaluated"):
        assert text in printed
    assert "Attention</h2>" in page and "recall 0.6" in page and "Propagation</h2>" in page and "keys every:2" in page


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        pytest.param({}, {}, id="nothing was requested"),
        pytest.param({"attention": {"mean_density": 0.4}}, {}, id="sparse"),
        pytest.param({"propagation": {"steps": 20, "evaluated": "12 of 20 steps"}}, {}, id="propagated"),
        pytest.param({"propagation": {"steps": 20, "name": "pab"}}, {}, id="a cache without key steps"),
        pytest.param(
            {"attention": {"mean_density": 1.0, "dense": {"short": 4}}},
            {"attention": "all calls ran dense: short"},
            id="dense",
        ),
        pytest.param(
            {"propagation": {"steps": 20, "evaluated": "20 of 20 steps"}},
            {"propagation": "all 20 steps were evaluated"},
            id="not propagated",
        ),
    ],
)
def test_what_did_nothing(report: dict[str, Any], expected: dict[str, str]) -> None:
    assert measured_no_effect(report) == expected


def evaluations(preset: str, model: str, steps: int | None) -> int:
    """Steps at which a preset evaluates the model fully. steps: the model's default; None: as it is."""
    outline = load_outline(model)
    assert outline is not None
    defaults: dict[str, Any] = {} if steps is None else {"steps": steps}
    resolved = RenderRequest("a red ball", **defaults | load_preset(preset)).resolve(outline)
    caching = resolved.propagation
    if caching is None:
        return resolved.steps
    assert isinstance(caching, StepCaching) and caching.max_error is None, "an error budget may skip nothing"
    cut: Any = None  # plays no part in a fixed list
    control = build_controller(caching, read_schedule(None, False), cut, None)
    return sum(control.is_key_step(step) for step in range(resolved.steps))


@pytest.mark.parametrize("model", ["embedded", "embedded-unet"])
@pytest.mark.parametrize("steps", [None, 25, 50])
def test_presets_are_ordered_by_their_model_evaluations(steps: int | None, model: str) -> None:
    """Attention saves nothing in the embedded models' clips, so that evaluations are what counts."""
    order = [evaluations(preset, model, steps) for preset in ("draft", "fast", "balanced", "exact")]
    assert order == sorted(set(order)) and order[2] <= 0.6 * order[3]
    assert evaluations("quality", model, steps) > order[3]


def test_the_balanced_preset_helps_at_default_steps(run: Run, tiny: Path) -> None:
    assert (
        run(
            "render", "a ball", "--model", tiny, *SMALL[:2], *FORMS["a clip"], "--preset", "balanced", "-o", "a.mp4"
        ).code
        == 0
    )
    found = measured("a.mp4")
    assert "propagation" not in found["no_effect"]
    evaluated, _, steps, _ = found["propagation"]["evaluated"].split()
    assert int(evaluated) <= 0.6 * int(steps)
