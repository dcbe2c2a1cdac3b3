"""The README's table is what the command makes of benchmarks/*.json, and the command reads what it should."""

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
RIVAL = {"speedup": 2.04, "psnr_db": 41.2, "psnr_5_percent_db": 38.0, "ssim": 0.99, "keys": 24.0, "right": {"colour": 1.0}}
FIDELITY = {"command": "a", "model": "embedded", "steps": 50, "clips": 32, "rivals": {"plain": RIVAL, "fd": RIVAL}}
PROMISE = {
    "command": "a", "model": "embedded", "steps": 50, "renders": 64,
    "promises": {"0.02": {"kept": 0.97, "median_error": 0.01, "90_percent_error": 0.015, "keys": 21.0}},
}  # fmt: skip


def test_the_readme_holds_the_commands_table() -> None:
    assert readme_table.main(["--check"]) == 0, "run `make readme`"


@pytest.mark.parametrize(
    ("name", "data", "rows"),
    [
        pytest.param("render.json", RENDER, ["9.0 s (encode 0.01 s, denoise 7.00 s) | `make bench`", "0.98x"], id="renders"),
        pytest.param("embedded-quality.json", QUALITY, ["98.0 % (95 % interval 95.0 to 99.0)", "evaluate_embedded"], id="judge"),
        pytest.param("propagation-fidelity-a.json", FIDELITY, ["fd | 2.04x, 41.2 dB to plain (5 % of the clips under 38.0)"], id="rivals"),
        pytest.param("propagation-promise-a.json", PROMISE, ["max_error 0.02", "kept in 97 % (90 % of them under 0.0150)"], id="promise"),
        pytest.param("other.json", {"command": "a", "rows": [["b", "c"]]}, ["| b | c | `a` |"], id="any other file's own rows"),
    ],
)
def test_files_become_rows(tmp_path: Path, name: str, data: dict, rows: list[str]) -> None:
    (tmp_path / name).write_text(json.dumps(data), encoding="utf-8")
    table = readme_table.table(tmp_path)
    assert all(row in table for row in rows), table


def test_a_file_that_nothing_reads_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "strange.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="strange"):
        readme_table.table(tmp_path)


def test_text_around_the_table_stays() -> None:
    text = f"a\n{readme_table.BEGIN}\nold\n{readme_table.END}\nb\n"
    once = readme_table.filled(text, "new")
    assert once.startswith("a\n") and once.endswith("\nb\n") and "old" not in once
    assert readme_table.filled(once, "new") == once
    with pytest.raises(ValueError, match="put both lines back"):
        readme_table.filled("no markers", "new")
