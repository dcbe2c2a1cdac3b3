"""Every script in examples/ runs, uses only public names, and writes what it says. Fewer steps than its defaults."""

from __future__ import annotations

import ast
import runpy
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
CASES = [
    pytest.param(
        "text_to_video",
        ("--steps=4", "--frames=17"),
        "rendered again from the file alone: same",
        ("star",),
        id="a clip",
    ),
    pytest.param(
        "fewer_evaluations",
        ("--steps=4", "--frames=17"),
        "propagation: 4 of 4 steps evaluated",
        ("plain", "sparse_attention", "propagation", "both"),
        id="techniques with their reports",
    ),
    pytest.param(
        "drag_and_camera",
        ("--steps=4", "--frames=17"),
        "drag by warped_noise",
        ("drag", "drag_preview", "camera", "camera_preview"),
        id="motion and its preview",
    ),
    pytest.param("long_clip", ("--steps=2", "--frames=80"), "of them resumed", ("long",), id="a resumed long clip"),
    pytest.param("story", ("--steps=2",), "regenerated: [1]", ("story",), id="a shot list, one segment regenerated"),
]


@pytest.mark.parametrize(("name", "arguments", "said", "written"), CASES)
def test_example_runs(
    name: str,
    arguments: tuple[str, ...],
    said: str,
    written: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments, f"--out={tmp_path}"])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert said in capsys.readouterr().out
    assert {path.stem for path in tmp_path.glob("*.mp4")} == set(written)


def test_every_example_is_run_and_listed() -> None:
    scripts = {path.stem for path in EXAMPLES.glob("*.py")}
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert scripts == {str(case.values[0]) for case in CASES}
    assert all(f"({name}.py)" in listed for name in scripts)


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in sorted(EXAMPLES.glob("*.py"))])
def test_examples_use_public_names_only(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "videogen":
            public = import_module(str(node.module)).__all__
            assert {alias.name for alias in node.names} <= set(public), f"line {node.lineno}"
