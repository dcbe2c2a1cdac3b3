"""Guides: their Python runs as one program per page, their commands parse, and links of every page lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from diffusers import WanPipeline

from tests.docs.pages import GUIDES, PAGES, ROOT, code_blocks, name_of
from videogen.cli import long_options, parser
from videogen.cli.parser import build_parser

SLOW = {"long_video": [pytest.mark.slow]}
PROGRAMS = [
    pytest.param(page, id=page.stem, marks=SLOW.get(page.stem, [])) for page in GUIDES if code_blocks(page, "python")
]
EVERY_PAGE = [pytest.param(page, id=name_of(page)) for page in PAGES]


class SmallPipeline(WanPipeline):
    """The embedded model in diffusers' pipeline, by default in small: what a reader's own `pipeline` stands for."""

    def __call__(self, prompt: str, **options: Any) -> Any:
        return super().__call__(prompt, height=64, width=64, num_frames=17, output_type="latent", **options)


def diffusers_pipeline() -> SmallPipeline:
    pipeline = SmallPipeline.from_pretrained(ROOT / "videogen" / "embedded" / "dit", local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("page", PROGRAMS)
def test_python_of_a_guide_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in code_blocks(page, "python"):
        if "pipeline" in block and "pipeline" not in names:
            names["pipeline"] = diffusers_pipeline()
        exec(compile(block, name_of(page), "exec"), names)
    assert names.keys() - {"pipeline", "__builtins__"}, "the page's programs define something"


@pytest.mark.parametrize("page", EVERY_PAGE)
def test_commands_parse(page: Path) -> None:
    parser = build_parser("0", "")
    for line in "\n".join(code_blocks(page, "")).splitlines():
        program, *arguments = shlex.split(line, comments=True) or [""]
        if program == "videogen":
            assert parser.parse_args(arguments).command


@pytest.mark.parametrize("text", [parser._MAIN_EXAMPLES, parser._RENDER_EXAMPLES, long_options._STORY_EXAMPLES])
def test_examples_of_the_help_parse(text: str) -> None:
    """A comment is what follows two or more spaces."""
    lines = [re.split(r"\s{2,}", line.strip())[0] for line in text.splitlines() if line.startswith("  videogen ")]
    assert lines and all(build_parser("0", "").parse_args(shlex.split(line)[1:]).command for line in lines)


@pytest.mark.parametrize("page", EVERY_PAGE)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        linked = page.parent / target if target else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", EVERY_PAGE)
def test_make_targets_that_are_named_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert named <= targets, named - targets


def test_every_guide_is_listed() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert GUIDES
    for page in GUIDES:
        assert f"(guide/{page.name})" in index and f"(docs/guide/{page.name})" in readme
