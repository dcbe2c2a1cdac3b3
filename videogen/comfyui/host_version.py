"""Version of ComfyUI, of which the nodes need a certain one or newer."""

from __future__ import annotations

import re
from pathlib import Path

OLDEST = "0.33.0"


def read_version(folder: Path) -> str | None:
    """Version of the ComfyUI in a folder; None for a folder without its program, such as a base directory."""
    file = folder / "comfyui_version.py"
    if not file.is_file():
        return None
    found = re.search(r"""^__version__ = ["']([^"']+)["']""", file.read_text(encoding="utf-8"), re.MULTILINE)
    return None if found is None else found[1]


def why_too_old(version: str | None) -> str:
    """What to do about a version that is too old; empty for one that is new enough or unknown."""
    if version is None or _numbers(version) >= _numbers(OLDEST):
        return ""
    return f"ComfyUI {version} is too old for videogen's nodes; update it to {OLDEST} or newer"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
