"""API reference and guides as HTML: `python docs/build.py [FOLDER]` (by default build/docs). Needs the extra `docs`."""

from __future__ import annotations

import argparse
import html
import re
import shutil
import sys
from importlib import import_module
from pathlib import Path

import pdoc
import pdoc.render
from pdoc.render_helpers import to_html

ROOT = Path(__file__).resolve().parents[1]
#: the packages that have public names
PACKAGES = ("", ".attention", ".longvideo", ".motion", ".propagation", ".schedulers", ".timeline")
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 54rem; margin: 2rem auto; padding: 0 1rem }}
pre {{ background: #f4f4f4; padding: .8rem; overflow: auto }} table {{ border-collapse: collapse }}
td, th {{ border: 1px solid #ccc; padding: .3rem .6rem; text-align: left; vertical-align: top }}</style></head>
<body><p><a href="{root}docs/README.html">Documentation</a> · <a href="{root}api/videogen.html">API reference</a></p>
{body}</body></html>
"""


def write_reference(folder: Path) -> None:
    """One page per package, with the names of its `__all__`."""
    specs = [spec for name in PACKAGES for spec in (f"videogen{name}", f"!videogen{re.escape(name)}\\.")]
    for name in PACKAGES:
        module = import_module(f"videogen{name}")
        for public in module.__all__:
            setattr(module, public, getattr(module, public))  # pdoc reads no lazy names
    pdoc.render.configure(docformat="markdown", show_source=True)
    pdoc.pdoc(*specs, output_directory=folder)


def write_pages(folder: Path) -> None:
    """Every Markdown page of the project, at the same path as in the repository, and the images that they show."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "examples/README.md", ROOT / "tools/README.md"]
    for page in pages:
        name = page.relative_to(ROOT)
        text = re.sub(r"(\]\([^):#]*)\.md([)#])", r"\1.html\2", page.read_text(encoding="utf-8"))
        title = html.escape(text.partition("\n")[0].lstrip("# "))
        target = (folder / name).with_suffix(".html")
        target.parent.mkdir(parents=True, exist_ok=True)
        root = "../" * (len(name.parts) - 1)
        target.write_text(PAGE.format(title=title, root=root, body=to_html(text)), encoding="utf-8")
    for image in (ROOT / "docs").glob("*.webp"):
        shutil.copy(image, folder / "docs")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build" / "docs")
    folder = parser.parse_args().folder
    write_reference(folder / "api")
    write_pages(folder)
    print(f"open {folder / 'docs' / 'README.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
