"""Write all figures from benchmarks/*.json: docs/figures.md in full, and the README's headline rows.

No figure in either is typed by hand. `sections.SECTIONS` has a row for each kind of report file; a file that no row
reads is an error.
"""

from __future__ import annotations

import argparse

from tools.bench.environment import ROOT
from tools.bench.report.page import pages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where either file is out of date")


def run(options: argparse.Namespace) -> int:
    outdated = {
        path: text
        for path, text in pages(ROOT).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    if options.check:
        return int(bool(outdated))
    for path, text in outdated.items():
        path.write_text(text, encoding="utf-8")
        print(path)
    return 0
