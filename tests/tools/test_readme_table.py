"""README's headlines and docs/figures.md are what the command makes of benchmarks/*.json, and it reads what it
should."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools import readme_table

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
QUALITY = {"models": {"embedded": {"clips": 128, "vae": VAE, "accuracy": ACCURACY}}}
RIVAL = {
    "speedup": 2.04,
    "psnr_db": 41.2,
    "psnr_5_percent_db": 38.0,
    "ssim": 0.99,
    "keys": 24.0,
    "right": {"colour": 1.0},
}
FIDELITY = {"command": "a", "model": "embedded", "steps": 50, "clips": 32, "rivals": {"plain": RIVAL, "fd": RIVAL}}
PROMISE = {
    "command": "a", "model": "embedded", "steps": 50, "renders": 64,
    "promises": {"0.02": {"kept": 0.97, "median_error": 0.01, "90_percent_error": 0.015, "keys": 21.0}},
}  # fmt: skip


POLICY = {
    "seam_ratio": 1.2, "seams_over_limit": 0.4, "right_colour": 1.0, "right_shape": 0.9, "motion": 0.8, "still": 0.0, "drift_de": 0.5,
    "likeness": 0.9, "cost": 1.5,
}  # fmt: skip
NEWER = {**POLICY, "flow": 0.91, "dynamic": 0.5}
LONG = {
    "command": "a",
    "model": "embedded",
    "clips": 3,
    "frames": 90,
    "policies": {"clean_prefix": POLICY, "cono": NEWER},
}
DYNAMIC = {**LONG, "one clip": {"right": [1.0, 1.0], "dynamic": 0.6}}


def test_readme_and_page_hold_what_the_command_writes() -> None:
    assert readme_table.main(["--check"]) == 0, "run `make readme`"


@pytest.mark.parametrize(("given", "told"), [("old", True), (None, False), ("now", False)])
def test_figures_of_earlier_weights_say_so(given: str | None, told: bool, tmp_path: Path) -> None:
    from tools.bench import identity

    of_weights = (
        identity("embedded") if given == "now" else {"model": "embedded", **({"model_hash": given} if given else {})}
    )
    path = tmp_path / "long-policies-embedded.json"
    path.write_text(json.dumps({**LONG, **of_weights}))
    rows = readme_table.rows_of(path, readme_table.Source(path.name, readme_table.long_rows))
    assert rows and all(("(earlier weights)" in line) == told for _, line in rows)


def test_the_readme_has_a_few_of_the_pages_rows() -> None:
    folder = readme_table.ROOT / "benchmarks"
    lines = readme_table.headline_table(folder).splitlines()[2:]
    page = readme_table.figures_page(folder).splitlines()
    assert 15 <= len(lines) <= 20 and len(set(lines)) == len(lines) and set(lines) <= set(page)


@pytest.mark.parametrize(
    "source", [s for subject in readme_table.SUBJECTS for s in subject.sources if s.headlines], ids=lambda s: s.files
)
def test_each_headline_has_its_file(source: readme_table.Source) -> None:
    """A file that goes takes its headlines along unseen."""
    assert list((readme_table.ROOT / "benchmarks").glob(source.files)), source.files


def test_old_text_in_either_file_is_found_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("benchmarks", "docs"):
        (tmp_path / name).mkdir()
    (tmp_path / "benchmarks" / "render.json").write_text(json.dumps(RENDER), encoding="utf-8")
    readme, page = tmp_path / "README.md", tmp_path / "docs" / "figures.md"
    readme.write_text(f"a\n{readme_table.BEGIN}\n{readme_table.END}\nb\n", encoding="utf-8")
    monkeypatch.setattr(readme_table, "ROOT", tmp_path)
    assert readme_table.main(["--check"]) == 1 and not page.exists()
    assert readme_table.main([]) == 0 and readme_table.main(["--check"]) == 0
    assert "0.98x" in readme.read_text(encoding="utf-8") and "## Rendering" in page.read_text(encoding="utf-8")
    for path in (readme, page):
        new = path.read_text(encoding="utf-8")
        path.write_text(new.replace("0.98x", "0.50x"), encoding="utf-8")
        assert readme_table.main(["--check"]) == 1
        path.write_text(new, encoding="utf-8")


@pytest.mark.parametrize(
    ("policies", "count"),
    [
        pytest.param({"cono": POLICY}, 0, id="its row was renamed"),
        pytest.param({"clean_prefix": POLICY, "frames: clean_prefix": POLICY}, 2, id="two rows answer"),
    ],
)
def test_a_headline_without_its_one_row_is_an_error(tmp_path: Path, policies: dict, count: int) -> None:
    (tmp_path / "long-policies-embedded.json").write_text(json.dumps({**LONG, "policies": policies}), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"finds {count} rows of long-policies-embedded\.json.*frames: "):
        readme_table.headline_table(tmp_path)


def test_a_headline_outlives_other_clips_and_frames(tmp_path: Path) -> None:
    for clips, frames in ((3, 90), (16, 330)):
        data = {**LONG, "clips": clips, "frames": frames}
        (tmp_path / "long-policies-embedded.json").write_text(json.dumps(data), encoding="utf-8")
        (line,) = readme_table.headline_table(tmp_path).splitlines()[2:]
        assert f"{clips} prompts, {frames} frames: clean_prefix | seams 1.20" in line


@pytest.mark.parametrize(
    ("name", "data", "rows"),
    [
        pytest.param(
            "render.json", RENDER, ["9.0 s (encode 0.01 s, denoise 7.00 s) | `make bench`", "0.98x"], id="renders"
        ),
        pytest.param(
            "embedded-quality.json", QUALITY, ["colour 98.0 % (95.0 to 99.0)", "evaluate_embedded"], id="judge"
        ),
        pytest.param(
            "propagation-fidelity-a.json",
            FIDELITY,
            ["fd | 2.04x, 41.2 dB to plain (5 % of the clips under 38.0)"],
            id="rivals",
        ),
        pytest.param(
            "propagation-promise-a.json",
            PROMISE,
            ["max_error 0.02", "kept in 97 % (90 % of them under 0.0150)"],
            id="promise",
        ),
        pytest.param(
            "long-policies-a.json",
            LONG,
            ["clean_prefix | seams 1.20", "motion 0.80 of one clip's, still"],
            id="policies",
        ),
        pytest.param("long-policies-a.json", DYNAMIC, ["by flow 0.91, dynamic 50 % for 60 %, still 0"], id="dynamic"),
        pytest.param(
            "long-policies-a.json", LONG, ["motion 0.80 of one clip's, by flow 0.91, still"], id="policies with flow"
        ),
        pytest.param(
            "other.json", {"command": "a", "rows": [["b", "c"]]}, ["| b | c | `a` |"], id="any other file's own rows"
        ),
    ],
)
def test_files_become_rows(tmp_path: Path, name: str, data: dict, rows: list[str]) -> None:
    (tmp_path / name).write_text(json.dumps(data), encoding="utf-8")
    page = readme_table.figures_page(tmp_path)
    assert all(row in page for row in rows), page


def test_a_file_that_nothing_reads_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "strange.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="strange"):
        readme_table.figures_page(tmp_path)


def test_text_around_the_table_stays() -> None:
    text = f"a\n{readme_table.BEGIN}\nold\n{readme_table.END}\nb\n"
    once = readme_table.filled(text, "new")
    assert once.startswith("a\n") and once.endswith("\nb\n") and "old" not in once
    assert readme_table.filled(once, "new") == once
    with pytest.raises(ValueError, match="put both lines back"):
        readme_table.filled("no markers", "new")
