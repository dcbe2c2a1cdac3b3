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
from videogen.request.request import RenderRequest

from .models import read_chosen_model
from .stand_ins import build_stand_ins, collect_conditions, is_length_open

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
    node: Any,
    build: Callable[..., RenderRequest],
    *,
    linked: Mapping[str, str] = _NOTHING,
    complete: Callable[[ResolvableModel], Mapping[str, Any]] = lambda _: {},
) -> Any:
    """The result of `validate_inputs`: True, or what is wrong with a node's widgets for every model, or for the model
    that its loader names.

    build: the request of its widgets, and of further fields; linked: input -> the kind of condition that it gives, with
    "" for several of Render Conditions; complete: further fields that follow from the model, or raises. A motion is
    left out, with a first frame that only the motion needs. ComfyUI shows the message at each input that
    `validate_inputs` names, whichever is at fault, so a node names one that every workflow has.
    """
    inputs = _inputs_of(str(node.hidden.unique_id))
    if not inputs or isinstance(inputs.get("story"), list) or is_refused_by_comfyui(node):
        return True
    values = _widgets(inputs) | ({"prompt": _LINKED} if isinstance(inputs.get("prompt"), list) else {})
    if "motion" in inputs:
        values.pop("motion_backend", None)
    try:
        build(values)
        model = _find_model(inputs)
        if model is None:
            return True
        conditions = _stand_ins(inputs, linked, model)
        if conditions is None or is_length_open(conditions, values):
            return True
        given = {"conditions": conditions} if conditions else {}
        build(values, **given, **complete(model)).resolve(model)
    except (VideogenError, ValueError) as error:
        return str(error)
    return True


def is_refused_by_comfyui(node: Any, named: str = "engine") -> bool:
    """Whether a widget is outside of its range or options in the schema, which ComfyUI reports at that widget. named:
    the input of `validate_inputs`, for which it doesn't."""
    values = own_values(node)
    declared = [one for one in node.define_schema().inputs if one.id in values and one.id != named]
    return not all(_is_within(one, values[one.id]) for one in declared)


def _is_within(declared: Any, value: Any) -> bool:
    """NaN is, as ComfyUI compares."""
    options = getattr(declared, "options", None)
    if options is not None:
        return value in options
    least, most = (getattr(declared, name, None) for name in ("min", "max"))
    if least is None or most is None:
        return True
    try:
        number = float(value)
    except (TypeError, ValueError):
        return False
    return not (number < least or number > most)


def _stand_ins(inputs: Mapping[str, Any], linked: Mapping[str, str], model: ResolvableModel) -> dict[str, Any] | None:
    """Conditions in place of those that are linked; None where it is not known which there are."""
    given = {name: kind for name, kind in linked.items() if name in inputs}
    collected = collect_conditions(inputs["conditions"], model, _find_inputs) if "" in given.values() else {}
    if collected is None:
        return None
    kinds = {kind for kind in given.values() if kind}
    if "motion" in inputs and "image" not in model.accepts:
        kinds.discard("image")
    return {**collected, **build_stand_ins(kinds, model)}


def _find_model(inputs: Mapping[str, Any]) -> ResolvableModel | None:
    """The model of the loader that is connected; None where that is not known, or has an error of its own."""
    loader = _find_inputs(inputs.get("engine"), LOADER)
    if loader is None or len(_widgets(loader)) < len(loader):
        return None
    try:
        return read_chosen_model(loader)
    except (VideogenError, KeyError):
        return None


def _find_inputs(link: Any, class_type: str) -> Mapping[str, Any] | None:
    """The inputs of the node at a link, if it is of a class."""
    node = _workflow().get(str(link[0])) if isinstance(link, list) and link else None
    return _inputs_of(str(link[0])) if isinstance(node, Mapping) and node.get("class_type") == class_type else None


def _workflow() -> Mapping[str, Any]:
    return _queued.get() or {}


def _inputs_of(unique_id: str) -> Mapping[str, Any]:
    found = _workflow().get(unique_id, {})
    inputs = found.get("inputs", {}) if isinstance(found, Mapping) else {}
    return inputs if isinstance(inputs, Mapping) else {}


def _widgets(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if not isinstance(value, list)}
