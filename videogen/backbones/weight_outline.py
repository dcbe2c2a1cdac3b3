"""Outlines of single components: modules on the meta device, for memory plans.

`outline.build_outline` leaves out what no request is resolved against: text and image encoders, and the components
that a pipeline has classes of its own for. Here they are built too, from a checkpoint's files or from a loaded
pipeline, whose weights are not touched.
"""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .hosting.arguments import is_modular
from .loading import _model_class, without_fallback_lines
from .registry import components_of, find_cached


def build_encoders(source: Path | str, index: dict[str, Any], *, online: bool = False) -> dict[str, nn.Module]:
    """The components with weights that an outline leaves out, by name."""
    local = isinstance(source, Path) or not online
    found = {}
    with without_fallback_lines():
        for name, (library, kind) in components_of(index).items():
            model_class = None if library == "diffusers" else _model_class(library, kind)
            if model_class is not None:
                found[name] = _build_empty(model_class, _read_config(model_class, str(source), name, local))
    return found


def outline_pipeline(pipeline: Any) -> tuple[Any, dict[str, nn.Module]]:
    """(an outline of a pipeline in memory, its encoders apart): of its classes and configurations alone."""
    modules = {name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)}
    empty = {name: _build_empty(type(part), part.config) for name, part in modules.items()}
    encoders = {name: part for name, part in empty.items() if not _is_of_outline(modules[name])}
    kind = type(pipeline)
    outlined = type(kind.__name__, (kind,), {"_execution_device": torch.device("cpu")})
    twin = copy.copy(pipeline)  # with what was set on it after it was built
    twin.__class__ = outlined
    vars(twin).update(empty if is_modular(pipeline) else empty | dict.fromkeys(encoders))
    return twin, encoders


def read_tokenizer_limit(source: Path | str) -> int | None:
    """Tokens of the longest text that a checkpoint's tokenizer allows; None where its files do not say."""
    name = "tokenizer/tokenizer_config.json"
    path = source / name if isinstance(source, Path) else find_cached(source, name)
    with suppress(OSError, ValueError, TypeError, AttributeError):
        limit = json.loads(Path(path).read_text(encoding="utf-8")).get("model_max_length")  # type: ignore[arg-type]
        return int(limit) if isinstance(limit, int | float) else None
    return None


def _is_of_outline(module: nn.Module) -> bool:
    """Whether `build_outline` builds it: a model of diffusers that is not of a pipeline's own folder."""
    return type(module).__module__.startswith("diffusers.models")


def _read_config(model_class: Any, source: str, name: str, local: bool) -> Any:
    if hasattr(model_class, "load_config"):
        return model_class.load_config(source, subfolder=name, local_files_only=local)
    return model_class.config_class.from_pretrained(source, subfolder=name, local_files_only=local)


def _build_empty(model_class: Any, config: Any) -> nn.Module:
    from accelerate import init_empty_weights

    with init_empty_weights():
        model: nn.Module = model_class.from_config(config) if hasattr(model_class, "from_config") else (
            model_class(config)
        )  # fmt: skip
    if hasattr(model, "tie_weights"):
        model.tie_weights()  # type: ignore[operator]  # building without memory separates what is one tensor
    return model.eval()
