"""Command lines of the documentation and of every `--help`, as sessions: what a reader runs in one folder, in order."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.docs.pages import GUIDES, PAGES, ROOT, code_blocks, name_of
from videogen.cli.parser import build_parser

SHELL = ("", "sh", "bash")
#: Pages whose code spans are commands to run, too.
READ_THROUGH = [ROOT / "README.md", *GUIDES]


@dataclass(frozen=True)
class Session:
    """Lines without their comments, and the files that the page shows, by name."""

    name: str
    lines: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict)


def collect_sessions() -> list[Session]:
    """All of them: shell blocks and code spans of pages, the Makefile's demo, examples in the help."""
    return [*page_sessions(), demo_session(), *help_sessions()]


def page_sessions() -> Iterator[Session]:
    for page in PAGES:
        files = dict(named_files(code_blocks(page, "toml")))
        blocks = [text for language in SHELL for text in code_blocks(page, language)]
        for number, text in enumerate(blocks, 1):
            lines = tuple(filter(None, map(without_comment, text.splitlines())))
            yield Session(f"{name_of(page)} {number}", lines, files)
        if page in READ_THROUGH:
            spans = re.findall(r"(?<!`)`(videogen [^`]+)`(?!`)", page.read_text(encoding="utf-8"))
            if spans:
                yield Session(f"{name_of(page)} text", tuple(dict.fromkeys(spans)), files)


def named_files(blocks: list[str]) -> Iterator[tuple[str, str]]:
    """(name, text) of blocks whose first line is a comment that names a file."""
    for text in blocks:
        name = re.match(r"# (\S+)\n", text)
        if name is not None:
            yield name[1], text


def demo_session() -> Session:
    """What `make demo` runs."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    values = dict(re.findall(r"^(\w+) \?= (.*)$", text, re.MULTILINE))
    (line,) = re.findall(r"^\t\$\(BIN\)/(videogen .*)$", text, re.MULTILINE)
    return Session("make demo", (re.sub(r"\$\((\w+)\)", lambda name: values[name[1]], line),))


def help_sessions() -> Iterator[Session]:
    """Indented lines `videogen ...` of each command's help; the story that the help shows is their story.txt."""
    epilogs = {name: parser.epilog or "" for name, parser in all_parsers(build_parser("0", ""))}
    story = "\n".join(re.findall(r"^  (\[\d.*)$", "\n".join(epilogs.values()), re.MULTILINE))
    for name, epilog in epilogs.items():
        lines = tuple(map(without_comment, re.findall(r"^  (videogen .*)$", epilog, re.MULTILINE)))
        if lines:
            yield Session(f"{name} --help", lines, {"story.txt": story})


def all_parsers(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """(command, parser) of a parser and of its commands' parsers."""
    yield parser.prog, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from all_parsers(inner)


def without_comment(line: str) -> str:
    """A line without what follows ` #` or, as in the help, two or more blanks outside of quotes."""
    command = re.match(r"""(?:"[^"]*"|'[^']*'|\S)+(?: (?!#)(?:"[^"]*"|'[^']*'|\S)+)*""", line.strip())
    return command[0] if command and not command[0].startswith("#") else ""


def arguments_of(line: str) -> list[str] | None:
    """A line's arguments where it is one of `videogen`; else None."""
    program, *arguments = shlex.split(line)
    return arguments if program == "videogen" else None
