"""README: short, its example runs, and its images are small. Links, commands and make targets:
tests/docs/test_guides.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 130


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in example.splitlines() if line.strip()]) <= 10
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    assert (tmp_path / "star.mp4").stat().st_size > 0
    printed = capsys.readouterr().out
    assert "a blue star spins on a gray background" in printed and "decode 1 1" in printed


def test_its_images_are_small() -> None:
    images = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert len(images) == 3
    for image in images:
        assert 0 < (ROOT / image).stat().st_size < (400_000 if image == "docs/demo.webp" else 200_000)
