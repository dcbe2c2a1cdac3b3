"""Stored golden table: one row per case in `table.json`, with its manifest and journal in separate files."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from tests.golden.cases import Case
from tests.golden.comparing import fingerprint, first_difference, frames_differ, frames_digest, probe
from tests.golden.normalising import job_data, to_text, with_present_names, without_volatile
from tests.golden.rendering import render

HERE = Path(__file__).resolve().parent
TABLE, MANIFESTS, JOURNALS = HERE / "table.json", HERE / "manifests", HERE / "journals"


@dataclass(frozen=True)
class Result:
    """The present render of a case: its row, and the texts of its manifest and journal."""

    row: dict[str, Any]
    manifest: str
    journal: str | None


def render_case(case: Case) -> Result:
    """Render a case in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="golden-") as name:
        folder = Path(name).resolve()
        rendered = render(case, folder)
        manifests = without_volatile(rendered.manifests, folder)
        manifest = to_text(manifests[0] if len(manifests) == 1 else manifests)
        journal = None if rendered.job is None else to_text(job_data(rendered.job, folder, manifests[0]))
    row = {
        "frames": frames_digest(rendered.frames),
        "shape": list(rendered.frames.shape),
        "fingerprint": fingerprint(rendered.frames),
        "manifest": hashlib.sha256(manifest.encode()).hexdigest(),
        "journal": None if journal is None else hashlib.sha256(journal.encode()).hexdigest(),
    }
    return Result(row, manifest, journal)


def read_table() -> dict[str, Any]:
    """The stored table; an empty one where no file exists."""
    if not TABLE.exists():
        return {"torch": torch.__version__, "probe": probe(), "cases": {}}
    table: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return table


@lru_cache(maxsize=1)
def same_machine() -> bool:
    """Whether this machine rounds like the one that wrote the table."""
    return bool(read_table()["probe"] == probe())


def write_rows(results: dict[str, Result], known: list[str]) -> None:
    """Store results in the table, and delete the rows of cases that no longer exist."""
    table = read_table()
    if set(results) >= set(known):
        table = {"torch": torch.__version__, "probe": probe(), "cases": {}}
    for name, result in results.items():
        table["cases"][name] = result.row
        _write(MANIFESTS / f"{name}.json", result.manifest)
        _write(JOURNALS / f"{name}.json", result.journal)
    for folder in (MANIFESTS, JOURNALS):
        for path in folder.glob("*.json"):
            if path.stem not in known:
                path.unlink()
    lines = {name: json.dumps(table["cases"][name], separators=(",", ":")) for name in known if name in table["cases"]}
    rows = [f"  {json.dumps(name)}: {row}" for name, row in lines.items()]
    head = f' "torch": {json.dumps(table["torch"])},\n "probe": {json.dumps(table["probe"])},\n "cases": {{\n'
    TABLE.write_text("{\n" + head + ",\n".join(rows) + "\n }\n}\n", encoding="utf-8")


def _write(path: Path, text: str | None) -> None:
    path.parent.mkdir(exist_ok=True)
    if text is None:
        path.unlink(missing_ok=True)
    else:
        path.write_text(text, encoding="utf-8")


def differences(case: Case, result: Result) -> list[str]:
    """How a result differs from the stored one: at most one line each for frames, manifest and journal."""
    exact = same_machine()
    stored = read_table()["cases"].get(case.name)
    if stored is None:
        return ["the table has no such case: run `python -m tests.golden write`"]
    frames = frames_differ(stored, result.row, exact=exact)
    lines = [] if frames is None else [f"frames: {frames}"]
    for kind, folder, now in (("manifest", MANIFESTS, result.manifest), ("journal", JOURNALS, result.journal)):
        path = folder / f"{case.name}.json"
        old = with_present_names(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None
        found = first_difference(old, None if now is None else json.loads(now), exact=exact)
        lines += [] if found is None else [f"{kind}: {found}"]
    return lines
