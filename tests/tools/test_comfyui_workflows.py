"""Example workflows of the ComfyUI pack: of the present graphs and schemas, with a thumbnail, and small."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from PIL import Image

from tools.comfyui.examples import EXAMPLES
from tools.comfyui.graphs import Api, Example
from tools.comfyui.layout import place
from tools.comfyui.making import FOLDER, check_same, note_of
from tools.comfyui.schemas import InputSchema, read_schemas

SCHEMAS = {schema.node_id: schema for schema in read_schemas()}
CASES = [pytest.param(example, id=example.name) for example in EXAMPLES]
LIMIT_BYTES = 1_000_000
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


def read_workflow(example: Example) -> Any:
    return json.loads((FOLDER / f"{example.name}.json").read_text(encoding="utf-8"))


def own_nodes(graph: Api) -> list[dict[str, Any]]:
    return [node for node in graph.values() if node["class_type"].startswith("Videogen")]


def input_of(kind: str, name: str) -> InputSchema:
    """An input of a node, also one that grows with its links, such as `motions.motion0`."""
    inputs = {one.name: one for one in SCHEMAS[kind].inputs}
    return inputs[name] if name in inputs else inputs[name.split(".")[0]]


def is_allowed(value: Any, one: InputSchema) -> bool:
    if "options" in one.values:
        return value in one.values["options"]
    if one.type in ("INT", "FLOAT"):
        return one.values.get("min", -math.inf) <= value <= one.values.get("max", math.inf)
    return isinstance(value, bool if one.type == "BOOLEAN" else str)


@pytest.mark.parametrize("example", CASES)
def test_a_graph_has_the_inputs_of_the_schemas(example: Example) -> None:
    graph = example.build(example)
    assert own_nodes(graph)
    for node in own_nodes(graph):
        inputs = {one.name: one for one in SCHEMAS[node["class_type"]].inputs}
        needed = {one.name for one in inputs.values() if not one.optional and "." not in one.name}
        given = node["inputs"].keys() | {name.split(".")[0] for name in node["inputs"]}
        assert needed <= given, f"{node['class_type']} lacks inputs"
        for name, value in node["inputs"].items():
            one = input_of(node["class_type"], name)
            assert isinstance(value, list) == (one.type not in WIDGETS), name
            assert isinstance(value, list) or is_allowed(value, one), f"{name}={value}"


@pytest.mark.parametrize("example", CASES)
def test_links_lead_to_nodes_of_the_type(example: Example) -> None:
    graph = example.build(example)
    for node in own_nodes(graph):
        for name, value in node["inputs"].items():
            if isinstance(value, list) and (source := SCHEMAS.get(graph[value[0]]["class_type"])):
                wanted = input_of(node["class_type"], name).type.split(", ")
                assert source.outputs[value[1]].type in wanted or wanted == ["AUTOGROW"]


@pytest.mark.parametrize("example", CASES)
def test_a_workflow_is_of_its_graph(example: Example) -> None:
    graph, workflow = example.build(example), read_workflow(example)
    nodes = {str(node["id"]): node for node in workflow["nodes"]}
    kinds = {name: node["type"] for name, node in nodes.items() if node["type"] != "MarkdownNote"}
    assert kinds == {name: node["class_type"] for name, node in graph.items()}, "python -m tools.comfyui workflows"
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    for name, node in graph.items():
        found = {one["name"]: links[one["link"]] for one in nodes[name]["inputs"] if one.get("link") is not None}
        assert found == {key: value for key, value in node["inputs"].items() if isinstance(value, list)}
        values = [str(value) for value in nodes[name].get("widgets_values", ())]
        for key, value in node["inputs"].items():
            if not isinstance(value, list) and node["class_type"].startswith("Videogen"):
                assert str(value) in values or str(int(value)) in values, f"{node['class_type']}.{key}={value}"
    (note,) = (node for node in nodes.values() if node["type"] == "MarkdownNote")
    assert note["widgets_values"] == [note_of(example)]


@pytest.mark.parametrize("example", CASES)
def test_a_thumbnail_shows_a_clip(example: Example) -> None:
    with Image.open(FOLDER / f"{example.name}.jpg") as image:
        assert min(image.size) >= 300 and max(image.size) <= 600
        assert image.convert("L").getextrema()[1] > 100


def test_the_folder_has_the_examples_only_and_is_small() -> None:
    names = {path.name for path in FOLDER.iterdir()}
    assert names == {f"{example.name}.{kind}" for example in EXAMPLES for kind in ("json", "jpg")}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < LIMIT_BYTES
    assert all(len(example.name.split()) == 1 for example in EXAMPLES), "a name in a URL"


def test_other_values_of_the_frontend_are_an_error() -> None:
    graph: Api = {"1": {"class_type": "KSampler", "inputs": {"seed": 3}}}
    check_same(graph, {"1": {"inputs": {"seed": 3, "more": "default"}}})
    with pytest.raises(ValueError, match=r"KSampler.*'seed': 4"):
        check_same(graph, {"1": {"inputs": {"seed": 4}}})


def test_nodes_do_not_overlap_and_follow_their_links() -> None:
    sizes = {"a": (100.0, 50.0), "b": (200.0, 80.0), "c": (100.0, 40.0), "d": (90.0, 60.0)}
    links = [("a", "c"), ("b", "c"), ("c", "d"), ("a", "d")]
    found = place(sizes, links)
    assert all(found[source][0] + sizes[source][0] < found[target][0] for source, target in links)
    assert found["a"][1] + 50 < found["b"][1] or found["b"][1] + 80 < found["a"][1]


def test_examples_use_nodes_of_the_pack() -> None:
    used = {node["class_type"] for example in EXAMPLES for node in own_nodes(example.build(example))}
    assert used <= SCHEMAS.keys()
