"""README and guides: their Python runs as one program per page, and links of every page lead somewhere.

Their commands are run by test_commands.py.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from diffusers import WanPipeline

from tests.docs.pages import GUIDES, PAGES, ROOT, code_blocks, name_of
from tests.docs.small import sources_read_by, write_sources
from videogen import Video

PROGRAMS = [pytest.param(page, id=page.stem) for page in (ROOT / "README.md", *GUIDES) if code_blocks(page, "python")]
SMALL = [case for case in PROGRAMS if case.id != "long_video"]  # it is long in small, too
EVERY_PAGE = [pytest.param(page, id=name_of(page)) for page in PAGES]


class SmallPipeline(WanPipeline):
    """The embedded model in diffusers' pipeline, by default in small: what a reader's own `pipeline` stands for."""

    def __call__(self, prompt: str, **options: Any) -> Any:
        return super().__call__(prompt, height=64, width=64, num_frames=17, output_type="latent", **options)


def diffusers_pipeline() -> SmallPipeline:
    pipeline = SmallPipeline.from_pretrained(ROOT / "videogen" / "embedded" / "dit", local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def run_programs(page: Path) -> None:
    """Run a page's blocks as one program. What one reads as a condition and no block before has written is there."""
    names: dict[str, Any] = {}
    for block in code_blocks(page, "python"):
        write_sources(sources_read_by(block))
        if "pipeline" in block and "pipeline" not in names:
            names["pipeline"] = diffusers_pipeline()
        exec(compile(block, name_of(page), "exec"), names)
    assert names.keys() - {"pipeline", "__builtins__"}, "the page's programs define something"


@pytest.mark.usefixtures("shared_models", "small_models")
@pytest.mark.parametrize("page", SMALL)
def test_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    run_programs(page)
    for path in tmp_path.glob("*.mp4"):
        assert Video.open(path).frames.std() > 2, path.name


@pytest.mark.slow
@pytest.mark.usefixtures("shared_models")
@pytest.mark.parametrize("page", PROGRAMS)
def test_python_of_a_page_runs_at_the_models_own_length(page: Path) -> None:
    run_programs(page)


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
