"""Installation of the node pack into a ComfyUI folder: a small folder in `custom_nodes` that imports this package, with
the files that ComfyUI reads itself."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from videogen.core.errors import InputError, UnsupportedError
from videogen.core.files import atomic_path

from .host_version import read_version, why_too_old
from .pack_files import FOLDERS, find_folder

PACK = "videogen"
_INIT = '''"""videogen's nodes, from the installed package; written by `videogen comfyui install`."""

WEB_DIRECTORY = "web"


async def comfy_entrypoint():
    try:
        from videogen.comfyui.entry import comfy_entrypoint as entry
    except ModuleNotFoundError as error:
        raise ImportError(
            f"videogen's nodes need the package {error.name!r}: install videogen into the Python that runs ComfyUI"
        ) from error
    return await entry()


__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
'''


@dataclass(frozen=True)
class Installation:
    """pack: the folder that ComfyUI loads; updated: it was there before; version: of ComfyUI, where it is known."""

    pack: Path
    updated: bool
    version: str | None

    def __str__(self) -> str:
        done = "updated" if self.updated else "installed"
        host = f"ComfyUI {self.version}" if self.version else "ComfyUI"
        return f"{done} {self.pack}\nrestart {host}; the nodes are in the category videogen, examples under Templates"


def install(folder: Path) -> Installation:
    """Add the pack to ComfyUI's folder, or its base directory; a pack that was installed before is updated.

    InputError where the folder is not ComfyUI's, or has a checkout of the pack; UnsupportedError for an old ComfyUI.
    """
    nodes, version = folder / "custom_nodes", read_version(folder)
    if not nodes.is_dir():
        raise InputError(f"{folder} has no folder custom_nodes; give the folder of ComfyUI, or its base directory")
    if why := why_too_old(version):
        raise UnsupportedError(why)
    pack = nodes / PACK
    if (pack / "pyproject.toml").exists():
        raise InputError(f"{pack} is a checkout of videogen, which ComfyUI loads itself; nothing to install")
    updated = pack.exists()
    if updated and not (pack / "__init__.py").is_file():
        raise InputError(f"{pack} exists and is not a node pack; move it away")
    pack.mkdir(exist_ok=True)
    for name in FOLDERS:
        _replace_folder(find_folder(name), pack / name)
    with atomic_path(pack / "__init__.py", overwrite=True) as partial:
        partial.write_text(_INIT, encoding="utf-8")
    return Installation(pack, updated, version)


def _replace_folder(source: Path, target: Path) -> None:
    if target.exists():
        shutil.rmtree(target)  # files of an earlier version go as well
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
