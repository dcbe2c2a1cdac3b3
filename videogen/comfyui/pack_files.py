"""Files of the node pack that ComfyUI reads itself: translations, workflow templates and help pages.

ComfyUI finds `locales/` and `example_workflows/` in the pack's own folder, so in a checkout they are at the top of the
repository. In an installed package they are next to this module.
"""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent
#: folder of the pack -> what it has
FOLDERS = {"locales": "translations", "example_workflows": "workflow templates", "web": "help pages"}


def find_folder(name: str) -> Path:
    """A folder of `FOLDERS`, in the installed package or at the top of the checkout."""
    inside = _HERE / name
    return inside if inside.is_dir() else _HERE.parents[1] / name
