"""Checks of the pack on a running server: `python -m tools.comfyui check --server URL`.

Every node is listed, every example is accepted and its clip is what its prompt says, a wrong value is reported at its
node, and without a technique's node the clip is the plain one once more.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .examples import EXAMPLES
from .graphs import Api, Example
from .making import render_example, render_images, why_wrong
from .schemas import read_schemas
from .server import Rejected, Server


@dataclass(frozen=True)
class Finding:
    """What was checked; wrong: empty where it is as it must be."""

    what: str
    wrong: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.wrong or 'ok'}"


#: example -> (node, input, value that its schema refuses)
WRONG_VALUES = {
    "sparse_attention": ("VideogenSparseAttention", "recall", 2.0),
    "propagation": ("VideogenPropagation", "rule", "sometimes"),
    "cut_and_drag": ("VideogenDualClockMotion", "strong", 0.99),
    "drag": ("VideogenWarpedNoise", "strength", -1.0),
}
#: examples of a MODEL's techniques, whose node can be left out
TECHNIQUES = ("sparse_attention", "propagation", "cut_and_drag")


def check_server(server: Server) -> Iterator[Finding]:
    """All checks, one by one."""
    yield check_list(server)
    for example in EXAMPLES:
        yield Finding(example.name, why_wrong(example, render_example(server, example)))
    by_name = {example.name: example for example in EXAMPLES}
    for name, (kind, key, value) in WRONG_VALUES.items():
        yield check_refusal(server, by_name[name], kind, key, value)
    for name in TECHNIQUES:
        yield check_removal(server, by_name[name])


def check_list(server: Server) -> Finding:
    """The server lists the pack's nodes with the texts of their schemas."""
    listed: dict[str, Any] = server.get("object_info")
    schemas = read_schemas()
    missing = [one.node_id for one in schemas if one.node_id not in listed]
    other = [
        one.node_id
        for one in schemas
        if one.node_id in listed and listed[one.node_id]["description"] != one.description
    ]
    unknown = [name for name in listed if name.startswith("Videogen") and name not in {one.node_id for one in schemas}]
    return Finding(f"{len(schemas)} nodes are listed", " ".join([*missing, *other, *unknown]))


def check_refusal(server: Server, example: Example, kind: str, key: str, value: object) -> Finding:
    """The server refuses a value, and names the node and the input."""
    graph = example.build(example)
    name = next(name for name, node in graph.items() if node["class_type"] == kind)
    graph[name]["inputs"][key] = value
    what = f"{kind} refuses {key}={value}"
    try:
        server.queue(graph)
    except Rejected as error:
        found = str(error.errors.get(name, ""))
        return Finding(what, "" if key in found else f"reported {error.errors}")
    return Finding(what, "accepted")


def check_removal(server: Server, example: Example) -> Finding:
    """The plain clip is the same before and after a run with the technique, which changes it."""
    graph = example.build(example)
    plain = without_techniques(graph)
    clips: list[np.ndarray] = []
    for one in (plain, graph, plain):
        server.forget()
        clips.append(render_images(server, one))
    before, changed, after = clips
    wrong = "" if np.array_equal(before, after) else "the plain clip differs"
    return Finding(f"{example.name}: plain without the node", wrong or ("no effect" * np.array_equal(before, changed)))


def without_techniques(graph: Api) -> Api:
    """A graph in which what the pack's MODEL nodes feed is fed by their own model, as when they are bypassed."""
    left = copy.deepcopy(graph)
    models = {name: node["inputs"]["model"] for name, node in graph.items() if _is_technique(node)}
    for node in left.values():
        for key, value in node["inputs"].items():
            while isinstance(value, list) and value[0] in models:
                value = node["inputs"][key] = models[value[0]]
    return {name: node for name, node in left.items() if name not in models}


def _is_technique(node: dict[str, Any]) -> bool:
    kind = node["class_type"]
    return (
        kind.startswith("Videogen")
        and kind not in ("VideogenWarpedNoise", "VideogenRunReport", "VideogenLoadModel")
        and isinstance(node["inputs"].get("model"), list)
    )
