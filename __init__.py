"""ComfyUI loads this file where the repository is cloned into `custom_nodes`; the node pack is `videogen/comfyui/`.

The repository's folder is not put on the search path: `attention` or `tools` would then hide modules of other packs.
ComfyUI looks for `locales/` and `example_workflows/` next to this file, and for help pages in `WEB_DIRECTORY`.
"""

import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path


def _use_this_checkout() -> None:
    """Make `videogen` importable from here, if it is not installed."""
    if "videogen" in sys.modules or find_spec("videogen") is not None:
        return
    package = Path(__file__).resolve().parent / "videogen"
    spec = spec_from_file_location("videogen", package / "__init__.py", submodule_search_locations=[str(package)])
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["videogen"] = module
    spec.loader.exec_module(module)


_use_this_checkout()

from videogen.comfyui.entry import comfy_entrypoint  # noqa: E402

WEB_DIRECTORY = "videogen/comfyui/web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
