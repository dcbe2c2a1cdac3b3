"""`bench report` writes the README's headline rows and docs/figures.md from benchmarks/*.json, and misses no file."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tools.bench.__main__ import main
from tools.bench.environment import ROOT, identity
from tools.bench.report import command, page
from tools.bench.report.headlines import HEADLINES
from tools.bench.report.table import Table

RENDER = {
    "command": "make bench",
    "machine": {"device": "CPU x86_64", "cpu_cores": 2},
    "models": {
        "embedded": {
            "clip": "33 frames of 64x64, 20 steps",
            "render_s": 9.04,
            "stages_s": {"encode": 0.01, "denoise": 7.0},
            "load_and_render_s": 14.2,
            "peak_memory_mib": 900,
            "ratio_to_diffusers": 0.98,
            "frames_equal_diffusers": True,
        }
    },
}
ACCURACY = {"colour": {"accuracy": 0.98, "low": 0.95, "high": 0.99}}
VAE = {"psnr_db": 32.1, "least_psnr_db": 30.2, "clips": 8}
QUALITY = {
    "command": "python -m tools.evaluate_embedded",
    "models": {"embedded": {"clips": 128, "vae": VAE, "accuracy": ACCURACY}},
}
RIVAL = {
    "speedup": 2.04,
    "psnr_db": 41.2,
    "psnr_5_percent_db": 38.0,
    "ssim": 0.99,
    "key_steps": 24.0,
    "accuracy": {"colour": 1.0},
}
FIDELITY = {"command": "a", "model": "embedded", "steps": 50, "clips": 32, "rivals": {"plain": RIVAL, "fd": RIVAL}}
PROMISE = {
    "command": "a", "model": "embedded", "steps": 50, "renders": 64,
    "promises": {"0.02": {"met": 0.97, "median_error": 0.01, "90_percent_error": 0.015, "key_steps": 21.0}},
}  # fmt: skip


POLICY = {
    "seam_ratio": 1.2, "seams_over_limit": 0.4, "colour_accuracy": 1.0, "shape_accuracy": 0.9, "motion": 0.8,
    "frozen": 0.0, "drift_de": 0.5, "similarity": 0.9, "cost": 1.5,
}  # fmt: skip
NEWER = {**POLICY, "flow": 0.91, "dynamic": 0.5}
LONG = {
    "command": "a",
    "model": "embedded",
    "clips": 3,
    "frames": 90,
    "policies": {"clean_prefix": POLICY, "cono": NEWER},
}
DYNAMIC = {**LONG, "single_clip": {"accuracy": [1.0, 1.0], "dynamic": 0.6}}


def test_readme_and_page_are_up_to_date() -> None:
    assert main(["report", "--check"]) == 0, "run `make readme`"


@pytest.mark.parametrize(("given", "older"), [("old", True), (None, False), ("now", False)])
def test_figures_of_earlier_weights_are_marked(given: str | None, older: bool, tmp_path: Path) -> None:
    weights = (
        identity("embedded") if given == "now" else {"model": "embedded", **({"model_hash": given} if given else {})}
    )
    (tmp_path / "long-policies-embedded.json").write_text(json.dumps({**LONG, **weights}))
    assert (page.OLDER in page.figures_page(tmp_path)) == older
    headlines = tuple(headline for headline in HEADLINES if headline.file.startswith("long-"))
    table = page.headline_table(tmp_path, headlines)
    assert (r"(1 = invisible) \*" in table, page.OLDER in table) == (older, older)


def test_a_note_is_on_the_page(tmp_path: Path) -> None:
    (tmp_path / "long-policies-a.json").write_text(json.dumps({**LONG, "note": "by hand"}))
    assert "90 frames (`a`; by hand):" in page.figures_page(tmp_path)


def test_the_readme_has_five_short_rows() -> None:
    rows = page.headline_table(ROOT / "benchmarks").splitlines()[2:7]
    assert len(HEADLINES) == 5 and len({row for row in rows if row.startswith("| ")}) == 5
    for row in rows:
        for cell in row.split("|")[1:3]:
            figures = re.findall(r"\d[\d.,]*", cell.replace("(1 = invisible)", ""))
            assert len(figures) <= 2, row


def test_outdated_text_in_either_file_is_found_and_rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks", ignore=shutil.ignore_patterns("*.jpg", "driving"))
    (tmp_path / "benchmarks" / "render.json").write_text(json.dumps(RENDER), encoding="utf-8")
    readme, figures = tmp_path / "README.md", tmp_path / "docs" / "figures.md"
    readme.write_text(f"a\n{page.BEGIN}\n{page.END}\nb\n", encoding="utf-8")
    monkeypatch.setattr(command, "ROOT", tmp_path)
    assert main(["report", "--check"]) == 1 and not figures.exists()
    assert main(["report"]) == 0 and main(["report", "--check"]) == 0
    assert "0.98x" in readme.read_text(encoding="utf-8") and "## Rendering" in figures.read_text(encoding="utf-8")
    for path in (readme, figures):
        new = path.read_text(encoding="utf-8")
        path.write_text(new.replace("0.98x", "0.50x"), encoding="utf-8")
        assert main(["report", "--check"]) == 1
        path.write_text(new, encoding="utf-8")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({**LONG, "policies": {"cono": POLICY}}, id="its figure was renamed"),
        pytest.param(None, id="its file is gone"),
    ],
)
def test_a_headline_without_its_figure_is_an_error(tmp_path: Path, content: dict[str, Any] | None) -> None:
    if content is not None:
        (tmp_path / "long-policies-embedded.json").write_text(json.dumps(content), encoding="utf-8")
    headlines = tuple(headline for headline in HEADLINES if headline.file.startswith("long-"))
    with pytest.raises(ValueError, match=r"long-policies-embedded\.json has no .*headlines\.py"):
        page.headline_table(tmp_path, headlines)


@pytest.mark.parametrize(
    ("name", "report", "rows"),
    [
        pytest.param(
            "render.json", RENDER, ["(`make bench`):", "9.0 s (encode 0.01 s, denoise 7.00 s)", "0.98x"], id="renders"
        ),
        pytest.param(
            "embedded-quality.json", QUALITY, ["| 98.0 % (95.0 to 99.0) |", "tools.evaluate_embedded"], id="judge"
        ),
        pytest.param(
            "propagation-fidelity-a.json", FIDELITY, ["| fd | 2.04x | 41.2 dB | 38.0 dB | 100 % |"], id="methods"
        ),
        pytest.param("propagation-promise-a.json", PROMISE, ["| 0.02 | in 97 % of runs | 0.0150 | 21 |"], id="promise"),
        pytest.param(
            "long-policies-a.json",
            LONG,
            ["| clean_prefix | 1.20 | 40 % | 100 % | 90 % | 0.80 | – | – | 0 % | 0.5 | 0.90 | 1.50x |"],
            id="policies",
        ),
        pytest.param(
            "long-policies-a.json",
            DYNAMIC,
            ["| 0.80 | 0.91 | 50 % | 0 % |", "| a single clip | – | – | 100 % | 100 % | – | – | 60 % |"],
            id="policies with flow, and single clips",
        ),
    ],
)
def test_reports_become_rows(tmp_path: Path, name: str, report: dict[str, Any], rows: list[str]) -> None:
    (tmp_path / name).write_text(json.dumps(report), encoding="utf-8")
    text = page.figures_page(tmp_path)
    assert all(row in text for row in rows), text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("strange.json", {}, "no section reads strange.json", id="no reader"),
        pytest.param("render.json", {"models": {}}, "render.json does not record its command", id="no command"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error(
    tmp_path: Path, name: str, content: dict[str, Any], message: str
) -> None:
    (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        page.figures_page(tmp_path)


def test_a_row_has_as_many_cells_as_the_table_has_columns() -> None:
    with pytest.raises(ValueError, match="'speeds'"):
        Table("speeds", ("a", "b"), [["1"]]).markdown()


def test_text_around_the_table_stays() -> None:
    text = f"a\n{page.BEGIN}\nold\n{page.END}\nb\n"
    once = page.fill_markers(text, "new")
    assert once.startswith("a\n") and once.endswith("\nb\n") and "old" not in once
    assert page.fill_markers(once, "new") == once
    with pytest.raises(ValueError, match="put both lines back"):
        page.fill_markers("no markers", "new")
