"""Entry point of the node pack: what ComfyUI calls to get its nodes.

Node files are imported here and not before, so that a missing package ends in one line of ComfyUI's log.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .engine_graph import watch_queue
from .table import NODES


async def comfy_entrypoint() -> Any:
    """ComfyUI's extension with the pack's nodes."""
    from comfy_api.latest import ComfyExtension

    class Extension(ComfyExtension):  # type: ignore[misc, valid-type]
        async def on_load(self) -> None:
            watch_queue()

        async def get_node_list(self) -> list[type]:
            return load_nodes()

    return Extension()


def load_nodes() -> list[type]:
    """The node classes of the table. ImportError, with what to install, where a package is missing."""
    try:
        return [getattr(import_module(f".nodes.{row.module}", __package__), row.name) for row in NODES]
    except ModuleNotFoundError as error:
        raise ImportError(
            f"videogen's nodes need the package {error.name!r}: install videogen into ComfyUI's Python with "
            "`pip install videogen`"
        ) from error
