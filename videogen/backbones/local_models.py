"""Models on this machine: the embedded ones, those in the hub client's cache, and folders in diffusers' layout. No
torch here."""

from __future__ import annotations

import os
from pathlib import Path

from videogen.core.errors import CheckpointError

from .checkpoints.location import EMBEDDED, INDEX, read_index
from .registry import family_of


def find_embedded_models() -> list[dict[str, str]]:
    """name, family and where of each model in the package."""
    found = []
    for name, folder in EMBEDDED.items():
        if (folder / INDEX).is_file():
            found.append({"name": name, "family": family_of(read_index(folder), name).name, "where": "in the package"})
    return found


def find_cached_models() -> list[dict[str, str]]:
    """The same of snapshots in the hub client's cache that a family here loads."""
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    found: dict[str, dict[str, str]] = {}
    for index in sorted(cache.glob(f"models--*/snapshots/*/{INDEX}")):
        name = index.parents[2].name.removeprefix("models--").replace("--", "/")
        if family := _family_name(index.parent, name):
            found[name] = {"name": name, "family": family, "where": "in the hub's cache"}
    return list(found.values())


def find_model_folders(folder: Path) -> list[Path]:
    """The folders in a folder that a family here loads."""
    indices = sorted(folder.glob(f"*/{INDEX}"))
    return [index.parent for index in indices if _family_name(index.parent, index.parent.name)]


def _family_name(folder: Path, name: str) -> str:
    """Empty where no family loads it."""
    try:
        return family_of(read_index(folder), name).name
    except CheckpointError:
        return ""
