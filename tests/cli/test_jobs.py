"""Unfinished jobs: whose default name is free, which model they may load, and what they show without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.conftest import Run
from videogen import InputError, RenderRequest
from videogen.backbones import recorded, registry
from videogen.backbones.digest import digest
from videogen.backbones.load_options import LoadOptions
from videogen.backbones.registry import read_model
from videogen.cli.settings import OutputSettings, choose_output
from videogen.longvideo import Journal, SegmentRecord, job_folder
from videogen.longvideo.stored_job import read_stored_job
from videogen.request.resolved import ResolvedRequest

HUB = "someone/model"
LONG: dict[str, Any] = {"frames": 33, "window": 9, "width": 32, "height": 32, "steps": 2, "continuity": "replay"}
GEOMETRY = {"channels": 4, "spatial": 8, "temporal": 4, "multiple": 16, "single_first": True}


def resolve(tiny: Path, **values: Any) -> ResolvedRequest:
    model = read_model(str(tiny))
    assert model is not None
    return RenderRequest("a red ball", **LONG | values).resolve(model)


def start_job(
    output: str, resolved: ResolvedRequest, about: dict[str, Any] | None = None, *, done: int = 0, **stored: Any
) -> None:
    """A job next to an output, with so many segments."""
    request = resolved.to_dict() | {"dtype": "bfloat16", "device": "cuda"}
    job = {"request": request, "model": {"name": "x", "hash": None}, "output": {"quality": None}}
    for name, value in stored.items():
        job["model" if name == "hash" else "request"][name] = value
    with Journal.open(job_folder(output), job, about=about) as journal:
        for index in range(done):
            journal.append(SegmentRecord(index, index, torch.zeros(1, 4, 1, 4, 4)))


@pytest.mark.parametrize(
    ("jobs", "files", "name"),
    [
        pytest.param({}, [], "a.mp4", id="nothing is there"),
        pytest.param({}, ["a.mp4", "a-2.mp4"], "a-3.mp4", id="finished videos"),
        pytest.param({"a.mp4": {"steps": 3}}, [], "a-2.mp4", id="an unfinished variant"),
        pytest.param({"a.mp4": {}}, [], "a.mp4", id="its own job"),
        pytest.param({"a.mp4": {"steps": 3}, "a-2.mp4": {}}, [], "a-2.mp4", id="its own job next to a variant's"),
        pytest.param({"a-3.mp4": {}}, ["other.mp4", "a-2.mp4"], "a-3.mp4", id="its own job after free names"),
        pytest.param({"a.mp4": {}}, ["a.mp4"], "a-2.mp4", id="a finished video whose job was kept"),
        pytest.param({"a.mp4": {"seed": 5}}, ["a-2.mp4"], "a-3.mp4", id="a variant's job, then a video"),
    ],
)  # fmt: skip
def test_a_default_name_is_free_or_its_own(
    jobs: dict[str, dict[str, Any]], files: list[str], name: str, tiny: Path, tmp_path: Path
) -> None:
    for output, values in jobs.items():
        start_job(str(tmp_path / output), resolve(tiny, **values))
    for file in files:
        (tmp_path / file).write_text("a video")
    request, resolved = RenderRequest("a red ball", **LONG), resolve(tiny)
    default = OutputSettings(tmp_path / "a.mp4", is_default=True)
    assert choose_output(default, request, resolved) == tmp_path / name
    for named in (OutputSettings(default.path), OutputSettings(default.path, overwrite=True, is_default=True)):
        assert choose_output(named, request, resolved) == default.path


def test_a_job_of_another_dtype_or_a_measured_policy(tiny: Path, tmp_path: Path) -> None:
    start_job(str(tmp_path / "a.mp4"), resolve(tiny))
    default = OutputSettings(tmp_path / "a.mp4", is_default=True)
    half = RenderRequest("a red ball", **LONG, dtype="float16")
    assert choose_output(default, half, resolve(tiny)).name == "a-2.mp4"
    measured = RenderRequest("a red ball", **LONG | {"continuity": "measured"})
    assert choose_output(default, measured, resolve(tiny, continuity="measured")).name == "a.mp4"
    assert choose_output(default, measured, None).name == "a.mp4"  # the journal says if it is another's


def test_two_variants_of_a_prompt(run: Run, tiny: Path, tmp_path: Path) -> None:
    for steps, name in (("1", "a-red-ball-tiny-wan-0"), ("2", "a-red-ball-tiny-wan-0-2")):
        made = run("render", "a red ball", "--model", tiny, "--frames", "1", "--size", "32x32", "--steps", steps)
        assert made.out == f"{tmp_path}/out/{name}.mp4\n", made.err


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """(model, local_files_only) of each load, which is refused."""
    found: list[tuple[str, bool]] = []

    def refuse(name: str, options: LoadOptions) -> None:
        found.append((name, options.local_files_only))
        raise InputError("reached the weights")

    monkeypatch.setattr("videogen.engine.memory_use.load", refuse)
    monkeypatch.setattr(registry, "_hub_index", lambda name: pytest.fail("the hub was reached"))
    return found


ACTIONS = [("render", "--resume", "a.mp4"), ("story", "redo", "0", "a.mp4"), ("story", "restore", "0", "a.mp4")]


@pytest.mark.parametrize("action", ACTIONS, ids=" ".join)
@pytest.mark.parametrize(("cached", "local_only"), [(False, None), (True, True)], ids=["unknown here", "in the cache"])
def test_a_jobs_model_is_not_fetched_unasked(
    action: tuple[str, ...], cached: bool, local_only: bool | None, run: Run, tiny: Path,
    loads: list[tuple[str, bool]], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    start_job("a.mp4", resolve(tiny), done=1, model=HUB)
    for module in (recorded, registry):
        monkeypatch.setattr(module, "find_cached", lambda _, file: tiny / file if cached else None)
    outcome = run(*action)
    assert outcome.code == 2 and loads == ([] if local_only is None else [(HUB, local_only)])
    assert ("reached the weights" if cached else f"a.mp4.job names model='{HUB}'") in outcome.err
    assert cached or "add --allow-model" in outcome.err


@pytest.mark.parametrize("action", ACTIONS[1:], ids=" ".join)
def test_a_jobs_model_that_is_allowed(
    action: tuple[str, ...], run: Run, tiny: Path, loads: list[tuple[str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    start_job("a.mp4", resolve(tiny), done=1, model=HUB)
    for module in (recorded, registry):
        monkeypatch.setattr(module, "find_cached", lambda *_: None)
    assert run(*action, "--allow-model").code == 2 and loads == [(HUB, False)]


@pytest.mark.parametrize("action", ACTIONS, ids=" ".join)
def test_a_job_of_other_weights_is_refused_before_they_are_loaded(
    action: tuple[str, ...], run: Run, tiny: Path, loads: list[tuple[str, bool]]
) -> None:
    start_job("a.mp4", resolve(tiny), done=1, hash="0" * 32)
    outcome = run(*action)
    assert outcome.code == 2 and "was started with other weights" in outcome.err and not loads
    start_job("b.mp4", resolve(tiny), done=1, hash=digest(tiny))
    assert "reached the weights" in run(*(text.replace("a.mp4", "b.mp4") for text in action)).err


@pytest.mark.parametrize(
    ("model", "about", "listed"),
    [
        pytest.param(HUB, {"geometry": GEOMETRY}, True, id="a job that states its geometry"),
        pytest.param("{tiny}", None, True, id="an earlier one, whose model is here"),
        pytest.param(HUB, None, False, id="an earlier one, whose model is not"),
        pytest.param(HUB, {"geometry": GEOMETRY | {"temporal": 0}}, False, id="a geometry that is none"),
        pytest.param("/nowhere", None, False, id="a folder that is gone"),
    ],
)
def test_an_unfinished_video_is_listed_without_its_model(
    model: str, about: dict[str, Any] | None, listed: bool, run: Run, tiny: Path, loads: list[tuple[str, bool]]
) -> None:
    start_job("a.mp4", resolve(tiny), about, done=2, model=model.format(tiny=tiny))
    printed = run("story", "show", "a.mp4")
    assert printed.code == 0 and not loads and "one prompt: a red ball" in printed.out, printed.err
    assert ("2        17-24" in printed.out and "2 of 4 segments are done" in printed.out) == listed, printed.out
    assert listed or "2 segments of this job are done" in printed.out


def test_a_render_stores_its_geometry(run: Run, tiny: Path) -> None:
    clip = ("--frames", "13", "--window", "9", "--size", "32x32", "--steps", "1", "--continuity", "replay")
    assert run("render", "a red ball", "--model", tiny, *clip, "-o", "a.mp4", "--keep-job").code == 0
    geometry = read_stored_job("a.mp4").geometry
    assert geometry is not None and vars(geometry) == GEOMETRY | {
        "latent_step": 1,
        "latents_per_segment": 1,
        "last_segment": 1,
    }
