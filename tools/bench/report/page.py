"""docs/figures.md and the README's headline rows, from the reports in `benchmarks/`."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from tools.bench.files import read_report
from tools.bench.report.headlines import HEADLINES, Headline
from tools.bench.report.sections import SECTIONS, Section, Source
from tools.bench.report.table import Table

BEGIN, END = "<!-- figures: begin (make readme) -->", "<!-- figures: end -->"
OLDER = "measured before the last training run"
INTRODUCTION = (
    "`make readme` writes this page from `benchmarks/*.json`; nothing here is typed by hand. The command that "
    "measures a group of tables is given in its first caption."
)


def figures_page(folder: Path) -> str:
    """docs/figures.md: all figures of all reports in `folder`, by section."""
    parts = ["# All figures", INTRODUCTION]
    for section, files in group_by_section(folder):
        parts += [f"## {section.title}", section.reading]
        for path, source in files:
            parts += report_parts(path, source)
    return "\n\n".join(parts) + "\n"


def group_by_section(folder: Path) -> Iterator[tuple[Section, list[tuple[Path, Source]]]]:
    """The sections that `folder` has reports of, with these reports and their readers."""
    left = sorted(folder.glob("*.json"))
    for section in SECTIONS:
        files = []
        for source in section.sources:
            files += [(path, source) for path in left if fnmatchcase(path.name, source.files)]
            left = [path for path in left if not fnmatchcase(path.name, source.files)]
        if files:
            yield section, files
    if left:
        names = ", ".join(path.name for path in left)
        raise ValueError(f"no section reads {names}; add a Source to SECTIONS in tools/bench/report/sections.py")


def report_parts(path: Path, source: Source) -> Iterator[str]:
    """Each table of a report below its caption; the first caption also names the command and says whether it is old."""
    report = read_report(path)
    command = report.get("command")
    if command is None:
        raise ValueError(f"{path.name} does not record its command; write it with tools.bench.files.write_report")
    about = [f"`{command}`", *([OLDER] if is_older(report) else []), *filter(None, [report.get("note")])]
    tables: list[Table] = list(source.reader(report))
    for number, table in enumerate(tables):
        yield f"{table.caption} ({'; '.join(about)}):" if number == 0 else f"{table.caption}:"
        yield table.markdown()


def headline_table(folder: Path, headlines: tuple[Headline, ...] = HEADLINES) -> str:
    """The README's rows; a star marks figures of earlier weights."""
    lines, older = ["| measured | result | command |", "|---|---|---|"], False
    for headline in headlines:
        path = folder / headline.file
        report = read_report(path)
        try:
            measured, result = headline.row(report)
        except KeyError as error:
            raise ValueError(
                f"{path.name} has no {error}, which its headline needs; adapt tools/bench/report/headlines.py"
            ) from error
        star = r" \*" if is_older(report) else ""
        older |= bool(star)
        lines.append(f"| {measured} | {result}{star} | `{report['command']}` |")
    return "\n".join(lines) + (f"\n\n\\* {OLDER}" if older else "")


def is_older(report: dict[str, Any]) -> bool:
    """True if the report was measured on other weights than the embedded model of that name has now."""
    present = _present_weights(report.get("model", ""))
    return present is not None and report.get("model_hash", present) != present


@cache
def _present_weights(model: str) -> str | None:
    """Hash of an embedded model's weights; None for any other model."""
    from videogen.backbones.digest import digest
    from videogen.backbones.registry import EMBEDDED

    return digest(EMBEDDED[model]) if model in EMBEDDED else None


def fill_markers(readme: str, figures: str) -> str:
    """The README's text with the table between its markers."""
    head, begin, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md has no {BEGIN!r} ... {END!r}; put both lines back")
    return f"{head}{BEGIN}\n\n{figures}\n\n{END}{tail}"


def pages(root: Path) -> dict[Path, str]:
    """Texts of README.md and docs/figures.md, by path."""
    readme, folder = root / "README.md", root / "benchmarks"
    text = readme.read_text(encoding="utf-8")
    return {readme: fill_markers(text, headline_table(folder)), root / "docs" / "figures.md": figures_page(folder)}
