"""Entry point of the node pack: what ComfyUI calls to get its nodes.

Node files are imported here and not before, so that a missing package ends in one line of ComfyUI's log. Where only
packages of the engine are missing, the nodes for ComfyUI's own models are there without them.
"""

from __future__ import annotations

import logging
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from .engine.graph import watch_queue
from .host_version import why_too_old
from .table import ENGINE_PACKAGES, HOW_TO_INSTALL, NODES, OPENCV, OPENCV_PACKAGE, NodeRow

_LOG = logging.getLogger(__name__)


async def comfy_entrypoint() -> Any:
    """ComfyUI's extension with the pack's nodes. ImportError, with what to do, where they cannot be loaded."""
    if why := why_too_old(_running_version()):
        raise ImportError(why)
    from comfy_api.latest import ComfyExtension

    class Extension(ComfyExtension):  # type: ignore[misc, valid-type]
        async def on_load(self) -> None:
            watch_queue()

        async def get_node_list(self) -> list[type]:
            return load_nodes()

    return Extension()


def load_nodes() -> list[type]:
    """The node classes of the table. ImportError, with what to install, where a package is missing that all need."""
    rows = list(NODES)
    if missing := [name for name in ENGINE_PACKAGES if find_spec(name) is None]:
        rows = _leave_out("run the engine", [row for row in rows if row.engine], missing, rows)
    if find_spec(OPENCV) is None:
        rows = _leave_out("need OpenCV", [row for row in rows if row.opencv], [OPENCV_PACKAGE], rows)
    return [_load(row) for row in rows]


def _leave_out(what: str, left: list[NodeRow], missing: list[str], rows: list[NodeRow]) -> list[NodeRow]:
    _LOG.warning(
        "videogen: %d nodes that %s are left out; install %s into ComfyUI's Python to have them",
        len(left), what, ", ".join(missing),
    )  # fmt: skip
    return [row for row in rows if row not in left]


def _load(row: NodeRow) -> type:
    try:
        node: type = getattr(import_module(f".nodes.{row.module}", __package__), row.name)
        return node
    except ModuleNotFoundError as error:
        raise ImportError(f"videogen's nodes need the package {error.name!r}: {HOW_TO_INSTALL}") from error


def _running_version() -> str | None:
    try:
        from comfyui_version import __version__
    except ModuleNotFoundError:
        return None
    return str(__version__)
