"""Model specification: what a model's configurations state about the clips that it generates.

A family reads it by one function of plain data, which its row in `registry.FAMILIES` names. The same function serves a
loaded model (`read_pipeline`) and the files of a checkpoint (`read_files`), so that a request can be refused before
torch is imported. Importing this loads no torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from .defaults import Capabilities
from .geometry import ClipLimits, LatentGeometry

#: name of a component -> its configuration; `PIPELINE` -> the settings of the pipeline itself
Configurations: TypeAlias = Mapping[str, Mapping[str, Any]]
PIPELINE = ""
_FILES = ("config.json", "scheduler_config.json")


@dataclass(frozen=True)
class ModelSpec:
    """native_guidance, geometry, limits, capabilities: as the properties of a `ResolvableModel`. defaults, training:
    fields of `Defaults` and of `Training` for this family, which a checkpoint may override. temporal_positions: number
    of latent frame positions of the layers that attend over frames alone (None: any number); temporal_blocks: whether
    there are such layers."""

    native_guidance: str
    geometry: LatentGeometry
    limits: ClipLimits
    capabilities: Capabilities
    defaults: Mapping[str, Any]
    training: Mapping[str, Any] = field(default_factory=dict)
    temporal_positions: int | None = None
    temporal_blocks: bool = False


#: How a family reads its specification: KeyError, TypeError or ValueError where the configurations do not suffice.
ReadSpec: TypeAlias = Callable[[Configurations], ModelSpec]


def read_pipeline(pipeline: Any) -> dict[str, Mapping[str, Any]]:
    """The configurations of a pipeline in memory."""
    named = {name: getattr(component, "config", None) for name, component in pipeline.components.items()}
    return {PIPELINE: pipeline.config} | {name: config for name, config in named.items() if isinstance(config, Mapping)}


def read_files(index: Mapping[str, Any], find_file: Callable[[str], Path | None]) -> dict[str, Mapping[str, Any]]:
    """The configurations of a checkpoint on this machine.

    index: its `model_index.json`; find_file: the path of a file, from its name within the checkpoint; None where it is
    not there. A configuration that is missing or damaged is left out.
    """
    found: dict[str, Mapping[str, Any]] = {
        PIPELINE: {name: value for name, value in index.items() if not isinstance(value, list | tuple)}
    }
    for name, value in index.items():
        if isinstance(value, list | tuple) and len(value) == 2 and value[0] == "diffusers":
            config = next(filter(None, (_read(find_file(f"{name}/{file}")) for file in _FILES)), None)
            if config is not None:
                found[name] = {"_class_name": value[1], **config}
    return found


def _read(path: Path | None) -> Mapping[str, Any] | None:
    try:
        config = None if path is None else json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return config if isinstance(config, dict) else None


def setting(config: Mapping[str, Any], name: str, defaults: Mapping[str, Any]) -> Any:
    """A configuration's value; the default of the library's class where a file of an earlier version lacks it."""
    return config[name] if name in config else defaults[name]
