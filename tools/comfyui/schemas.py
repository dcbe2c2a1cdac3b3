"""Schemas of the pack's nodes, read without ComfyUI: everything that the node files import from it is a recorder."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from videogen.comfyui.table import NODES

_HOST = ("comfy", "comfy_api", "comfy_execution", "comfy_extras", "folder_paths", "latent_preview", "nodes", "server")
_NODE_FILES = "videogen.comfyui.nodes"
_NAMES = {"BoundingBox": "BOUNDING_BOX"}


@dataclass(frozen=True)
class InputSchema:
    """An input: values has what the schema states besides (default, min, max, options)."""

    name: str
    type: str
    tooltip: str
    label: str
    optional: bool
    advanced: bool
    values: dict[str, Any]


@dataclass(frozen=True)
class OutputSchema:
    """An output of a node."""

    type: str
    tooltip: str
    label: str


@dataclass(frozen=True)
class NodeSchema:
    """A node, as ComfyUI lists it."""

    node_id: str
    display_name: str
    category: str
    description: str
    aliases: tuple[str, ...]
    inputs: tuple[InputSchema, ...]
    outputs: tuple[OutputSchema, ...]


def read_schemas() -> tuple[NodeSchema, ...]:
    """All nodes of the table, in its order."""
    with _recorded_host():
        classes = [getattr(import_module(f"{_NODE_FILES}.{row.module}"), row.name) for row in NODES]
        return tuple(_read_node(one.define_schema().values) for one in classes)


def _read_node(values: dict[str, Any]) -> NodeSchema:
    return NodeSchema(
        values["node_id"], values["display_name"], values["category"], values["description"],
        tuple(values.get("search_aliases", ())),
        tuple(found for one in values.get("inputs", ()) for found in _read_input(one)),
        tuple(_read_output(one) for one in values.get("outputs", ())),
    )  # fmt: skip


def _read_input(record: Any, prefix: str = "") -> Iterator[InputSchema]:
    """An input, and those that a value of it brings along, as `parent.child`."""
    values = dict(record.values)
    name = prefix + str(record.args[0] if record.args else values.pop("id"))
    options = values.get("options") or ()
    choices = [one for one in options if isinstance(one, _Recorded)]
    if choices:
        values["options"] = [one.args[0] if one.args else one.values["key"] for one in choices]
    yield InputSchema(
        name, _types_of(record), values.pop("tooltip", "") or "", values.pop("display_name", "") or name,
        bool(values.pop("optional", False)), bool(values.pop("advanced", False)), values,
    )  # fmt: skip
    nested: dict[str, InputSchema] = {}
    for choice in choices:
        for inner in choice.args[1] if len(choice.args) > 1 else choice.values["inputs"]:
            for one in _read_input(inner, f"{name}."):
                nested.setdefault(one.name, one)
    yield from nested.values()


def _read_output(record: Any) -> OutputSchema:
    kind = _type_of(record)
    return OutputSchema(kind, record.values.get("tooltip", "") or "", record.values.get("display_name") or kind)


def _types_of(record: Any) -> str:
    """The type of an input; of several, such as IMAGE, VIDEO."""
    kind = _type_of(record)
    if kind != "MULTITYPE":
        return kind
    types = record.values.get("types") or record.args[1]
    return ", ".join(_name_of(one.__qualname__.split(".")[-1]) for one in types)


def _type_of(record: Any) -> str:
    """Such as FLOAT or MODEL, of a record `io.Float.Input`."""
    return _name_of(type(record).__qualname__.split(".")[-2])


def _name_of(kind: str) -> str:
    return _NAMES.get(kind, kind.upper())


class _RecordedType(type):
    """A name of ComfyUI's. An attribute of it is another one; `Custom("NAME")` is the type of that name."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _record(f"{cls.__qualname__}.{name}")

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls.__qualname__.endswith("Custom"):
            return _record(f"{cls.__qualname__}.{args[0]}")
        return super().__call__(*args, **kwargs)

    def __iter__(cls) -> Iterator[Any]:
        return iter(())


class _Recorded(metaclass=_RecordedType):
    """What a schema was built with."""

    def __init__(self, *args: Any, **values: Any) -> None:
        self.args, self.values = args, values

    def __iter__(self) -> Iterator[Any]:
        return iter(())


def _record(name: str) -> Any:
    return _RecordedType(name.rpartition(".")[2], (_Recorded,), {"__qualname__": name})


class _HostModule(ModuleType):
    """A module of ComfyUI's: it has every name."""

    __path__: list[str] = []  # noqa: RUF012

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _record(name)


class _HostFinder(MetaPathFinder, Loader):
    """Finds any module of ComfyUI's."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.split(".")[0] in _HOST else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _HostModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""


@contextmanager
def _recorded_host() -> Iterator[None]:
    """Recorders in place of ComfyUI; what was loaded before is back afterwards."""

    def take_out() -> dict[str, ModuleType]:
        names = [name for name in sys.modules if name.split(".")[0] in _HOST or name.startswith(_NODE_FILES)]
        return {name: sys.modules.pop(name) for name in names}

    before, finder = take_out(), _HostFinder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        take_out()
        sys.modules.update(before)
