"""Architecture page: its layer table is the one that the import test enforces, and every folder it names exists."""

from __future__ import annotations

import re
from pathlib import Path

from tests.packaging.test_imports import LAYER

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PLANNED = {"editing", "comfyui", "serving"}


def test_the_layer_table_is_the_one_that_is_enforced() -> None:
    table = PAGE.split("<!-- layers: begin -->")[1].split("<!-- layers: end -->")[0]
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", table, re.MULTILINE)
    stated = {folder: int(layer) for layer, folders in rows for folder in folders.split(", ")}
    assert stated == {folder: layer for folder, layer in LAYER.items() if folder != "facade"}


def test_files_and_folders_that_it_names_exist() -> None:
    homes = (ROOT, ROOT / "videogen", ROOT / "schedulers")
    named = set(re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.py)?)`", PAGE))
    planned = {name for name in named if name.removeprefix("videogen/").split("/")[0] in PLANNED}
    missing = {name for name in named - planned if not any((home / name).exists() for home in homes)}
    assert named and missing <= {"videogen/metrics/flicker.py"}  # the example of a file to add
