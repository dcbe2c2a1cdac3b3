"""`bench render` measures what it claims, on tiny random models of both families."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.contract.families import VARIANTS
from tools.bench.__main__ import main
from tools.bench.render import paired_ratios
from tools.bench.report.render import render_tables


@pytest.mark.parametrize("name", ["wan-2.1", pytest.param("animatediff", marks=pytest.mark.slow)])
def test_a_render_is_measured_against_the_library(tmp_path: Path, name: str) -> None:
    VARIANTS[name].build(tmp_path / name)
    frames, width, height = VARIANTS[name].clips[0]
    settings = {"frames": frames, "width": width, "height": height, "fps": 8, "steps": 2, "guidance_scale": 3.0}
    (tmp_path / name / "defaults.json").write_text(json.dumps(settings), encoding="utf-8")
    out = tmp_path / "render.json"
    assert main(["render", str(tmp_path / name), "--rounds", "1", "--device", "cpu", "--out", str(out)]) == 0
    result = json.loads(out.read_text(encoding="utf-8"))
    figures = result["models"][name]
    assert figures["frames_equal_diffusers"] is True
    assert figures["clip"] == f"{frames} frames of {width}x{height}, 2 steps"
    assert 0 < figures["load_s"] < figures["load_and_render_s"]
    assert figures["peak_memory_mib"] > 50 and figures["ratio_to_diffusers"] > 0
    assert sum(figures["stages_s"].values()) <= 1.05 * figures["render_s"] + 0.05
    assert str(tmp_path) not in out.read_text(encoding="utf-8")  # no local paths in a committed file
    (table,) = render_tables(result)
    assert [row[0] for row in table.rows] == [f"`{name}`"] and table.rows[0][-1] == "bit-identical"


def test_the_ratio_is_taken_pair_by_pair() -> None:
    """A machine that slows down half-way slows down both."""
    assert paired_ratios({"ours": [1.0, 4.0], "theirs": [2.0, 8.0]}) == [0.5, 0.5]
