"""Checks of a queued workflow before it runs, against the model that the loader in the same workflow names.

ComfyUI gives `validate_inputs` no linked value, so a node cannot see its model there. The graph that is about to be
validated is therefore noted when it is queued, and the loader's widgets are read in it. A model whose files are not on
this machine, or a loader with linked widgets, is checked when the node runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

from videogen.backbones.resolvable import ResolvableModel
from videogen.core.errors import VideogenError
from videogen.request.condition_checks import check_conditions
from videogen.request.conditions import Conditions
from videogen.request.request import RenderRequest

from .engine_models import read_chosen_model

LOADER = "VideogenLoadModel"
#: in place of linked values, which are not known before the run
_LINKED = "linked"
_NOTHING: Mapping[str, str] = MappingProxyType({})
_queued: ContextVar[Mapping[str, Any] | None] = ContextVar("videogen_queued", default=None)


def watch_queue() -> None:
    """Note each workflow that is queued; called once, when the pack is loaded."""
    from server import PromptServer

    if getattr(PromptServer, "instance", None) is not None:
        PromptServer.instance.add_on_prompt_handler(note_workflow)


def note_workflow(queued: dict[str, Any]) -> dict[str, Any]:
    """ComfyUI's handler of a request to `/prompt`, which it gives back as it is."""
    graph = queued.get("prompt")
    _queued.set(graph if isinstance(graph, Mapping) else {})
    return queued


def own_values(node: Any) -> dict[str, Any]:
    """The widgets of the node that is validated; linked ones are left out. Empty where the workflow is not known."""
    return _widgets(_inputs_of(str(node.hidden.unique_id)))


def check_node(
    node: Any, build: Callable[[Mapping[str, Any]], RenderRequest], *, linked: Mapping[str, str] = _NOTHING
) -> Any:
    """The result of `validate_inputs`: True, or what is wrong with a node's widgets for every model, or for the model
    that its loader names.

    build: the request of its widgets; linked: input -> the condition that it gives, or nothing. With one of them the
    request is not complete before the run: only whether the model takes these conditions is checked.
    """
    inputs = _inputs_of(str(node.hidden.unique_id))
    if not inputs or isinstance(inputs.get("story"), list):
        return True
    prompt = {"prompt": _LINKED} if isinstance(inputs.get("prompt"), list) else {}
    try:
        request = build(_widgets(inputs) | prompt)
        model = _find_model(inputs)
        if model is None:
            return True
        given = [kind for name, kind in linked.items() if name in inputs]
        if not given:
            request.resolve(model)
        elif all(given):
            check_conditions(Conditions.from_value(dict.fromkeys(given, _LINKED)), model)
    except (VideogenError, ValueError) as error:
        return str(error)
    return True


def _find_model(inputs: Mapping[str, Any]) -> ResolvableModel | None:
    """The model of the loader that is connected; None where that is not known, or has an error of its own."""
    link = inputs.get("engine")
    node = _workflow().get(str(link[0])) if isinstance(link, list) and link else None
    if not isinstance(node, Mapping) or node.get("class_type") != LOADER:
        return None
    loader = node.get("inputs", {})
    if len(_widgets(loader)) < len(loader):
        return None
    try:
        return read_chosen_model(loader)
    except (VideogenError, KeyError):
        return None


def _workflow() -> Mapping[str, Any]:
    return _queued.get() or {}


def _inputs_of(unique_id: str) -> Mapping[str, Any]:
    found = _workflow().get(unique_id, {})
    inputs = found.get("inputs", {}) if isinstance(found, Mapping) else {}
    return inputs if isinstance(inputs, Mapping) else {}


def _widgets(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if not isinstance(value, list)}
