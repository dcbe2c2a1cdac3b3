"""Installation of the node pack into a ComfyUI folder: a small folder in `custom_nodes` that imports this package."""

from __future__ import annotations

from pathlib import Path

from videogen.core.errors import InputError
from videogen.core.files import atomic_path

PACK = "videogen"
_INIT = '''"""videogen's nodes, from the installed package; written by `videogen comfyui install`."""

from videogen.comfyui.entry import comfy_entrypoint

__all__ = ["comfy_entrypoint"]
'''


def install(folder: Path) -> Path:
    """Add the pack to ComfyUI's folder, or its base directory; returns the pack's folder. A pack that was installed
    before is updated. InputError where the folder is not ComfyUI's, or has a checkout of the pack."""
    nodes = folder / "custom_nodes"
    if not nodes.is_dir():
        raise InputError(f"{folder} has no folder custom_nodes; give the folder of ComfyUI, or its base directory")
    pack = nodes / PACK
    if (pack / "pyproject.toml").exists():
        raise InputError(f"{pack} is a checkout of videogen, which ComfyUI loads itself; nothing to install")
    if pack.exists() and not (pack / "__init__.py").is_file():
        raise InputError(f"{pack} exists and is not a node pack; move it away")
    pack.mkdir(exist_ok=True)
    with atomic_path(pack / "__init__.py", overwrite=True) as partial:
        partial.write_text(_INIT, encoding="utf-8")
    return pack
