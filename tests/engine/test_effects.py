"""Techniques that do nothing: Python callers get the command line's notes as log lines, before the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.families import wan
from videogen import Engine, Progress, RenderRequest
from videogen.backbones.registry import load_outline
from videogen.techniques.effects import expected_no_effect

SMALL: dict[str, Any] = {"width": 32, "height": 32, "steps": 2}
CLIP = {**SMALL, "frames": 5}
LONG = {**SMALL, "frames": 17, "window": 9, "continuity": "replay"}
NOTHING = {"attention": "adaptive", "propagate": "max_error:0.02"}
NOTES = ["attention has no effect here, because", "propagation has no effect here, because"]
Call = Callable[..., Any]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("effects") / "wan"
    wan(folder)
    return Engine.load(folder, device="cpu")


@pytest.mark.parametrize(
    ("call", "options", "expected"),
    [
        pytest.param(lambda e, _, **o: e.generate("a", **o), CLIP | NOTHING, NOTES, id="generate"),
        pytest.param(lambda e, _, **o: e.generate(["a", "b"], **o), CLIP | NOTHING, NOTES, id="a batch: once"),
        pytest.param(lambda e, _, **o: e.generate("a", **o), LONG | NOTHING, NOTES, id="a long video in memory"),
        pytest.param(
            lambda e, path, progress, **o: e.render_long(RenderRequest("a", **o), path, progress=progress),
            LONG | NOTHING,
            NOTES,
            id="render_long",
        ),
        pytest.param(
            lambda e, _, **o: e.generate("a", **o), CLIP | {"propagate": "every:2"}, [], id="it has an effect"
        ),
    ],
)
def test_the_notes_are_logged_before_the_run(
    call: Call,
    options: dict[str, Any],
    expected: list[str],
    engine: Engine,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    before: list[int] = []

    def progress(_: Progress) -> None:
        before.append(len(found()))

    def found() -> list[str]:
        texts = [record.getMessage().removeprefix("note: ") for record in caplog.records]
        return [text for text in texts if "has no effect here, because" in text]

    call(engine, tmp_path / "a.mp4", progress=progress, **options)
    assert [text[: len(start)] for text, start in zip(found(), expected, strict=True)] == expected
    assert before and set(before) == {len(expected)}, "all before the first step, none after it"


@pytest.mark.parametrize(
    ("budget", "steps", "announced"),
    [
        pytest.param(0.02, 30, True, id="30 of 30 were evaluated"),
        pytest.param(0.05, 20, True, id="18 to 20 of 20"),
        pytest.param(0.02, 40, False, id="24 to 27 of 40"),
        pytest.param(0.01, 50, False, id="31 of 50"),
        pytest.param(0.2, 20, False, id="15 of 20"),
        pytest.param(0.5, 20, False, id="12 of 20"),
    ],
)
def test_a_budget_is_announced_as_without_effect_only_where_it_was_measured_so(
    budget: float, steps: int, announced: bool
) -> None:
    outline = load_outline("embedded")
    assert outline is not None
    request = RenderRequest("a red ball", propagate=f"max_error:{budget}", steps=steps).resolve(outline)
    assert ("propagation" in expected_no_effect(request, outline)) == announced
