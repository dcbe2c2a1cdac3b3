"""Schemas of all nodes, as the real ComfyUI validates and sends them."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from videogen.comfyui.entry import load_nodes
from videogen.comfyui.table import NODES


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    for name in [name for name in sys.modules if name.startswith("videogen.comfyui.nodes")]:
        monkeypatch.delitem(sys.modules, name)  # those that another test loaded over the double
    return load_nodes()


def test_each_schema_is_valid_and_has_tooltips(nodes: list[Any]) -> None:
    assert len(nodes) == len(NODES)
    for node in nodes:
        schema = node.GET_SCHEMA()
        described = node.GET_NODE_INFO_V1()
        assert described["name"] == schema.node_id and described["category"].startswith("videogen")
        for group in ("required", "optional"):
            given = described["input"].get(group, {})
            assert all(one[1].get("tooltip") for one in given.values()), schema.node_id
        assert all(described["output_tooltips"]) or not described["output"], schema.node_id
