"""Links in `build/typing/videogen` that lay the package out as it is installed, for type checkers.

mypy and pyright do not follow the import hooks of editable installs. The links follow the tree: a new file in a linked
folder needs no second run.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOP_PACKAGES = ("attention", "configs", "schedulers")


def link(root: Path = ROOT) -> Path:
    """Create or replace the links under `root`; returns the folder to put on `MYPYPATH`."""
    folder = root / "build" / "typing"
    package = folder / "videogen"
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir(parents=True)
    for source in [*(root / "videogen").iterdir(), *(root / name for name in TOP_PACKAGES)]:
        if source.exists() and source.name != "__pycache__":
            (package / source.name).symlink_to(os.path.relpath(source, package), target_is_directory=source.is_dir())
    return folder


def main() -> int:
    link()
    return 0


if __name__ == "__main__":
    sys.exit(main())
