"""Models for the engine's nodes: which there are on this machine, and loading one as the node's widgets state."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videogen.backbones.load_options import LoadOptions
from videogen.backbones.local_models import find_cached_models, find_embedded_models, find_model_folders
from videogen.backbones.resolvable import ResolvableModel
from videogen.core.errors import InputError

from ..table import HOW_TO_INSTALL
from .memory import make_room

if TYPE_CHECKING:
    from videogen.engine.engine import Engine

#: of a widget: what the model or the engine chooses by itself
DEFAULT = "default"
#: ComfyUI's folder of models in diffusers' layout
_FOLDERS = "diffusers"
#: widgets of the loader that are fields of `LoadOptions`
_OPTIONS = ("dtype", "device", "offload", "precision", "memory", "base", "revision")


def list_models() -> list[str]:
    """Embedded models, then folders in ComfyUI's `models/diffusers`, then those in the hub's cache."""
    folders = [f"{_FOLDERS}/{folder.name}" for folder in _model_folders()]
    return [*(one["name"] for one in find_embedded_models()), *folders, *(one["name"] for one in find_cached_models())]


def choose_model(values: Mapping[str, Any]) -> str:
    """The name, folder or file of a loader's widgets. InputError where the chosen folder is gone."""
    path = str(values.get("path") or "").strip()
    name = path or str(values["model"])
    if path or not name.startswith(f"{_FOLDERS}/"):
        return name
    folder = next((one for one in _model_folders() if f"{_FOLDERS}/{one.name}" == name), None)
    if folder is None:
        raise InputError(f"model={name!r} is not in ComfyUI's folder of diffusers models any more; choose another")
    return str(folder)


def choose_options(values: Mapping[str, Any]) -> LoadOptions:
    """InputError for a value that no model can be loaded with."""
    given = {name: values.get(name) for name in _OPTIONS}
    stated = {name: value for name, value in given.items() if value not in (None, "", DEFAULT)}
    offline = not values.get("download", False)
    return LoadOptions(local_files_only=offline, compile=bool(values.get("compile", False)), **stated)


def read_chosen_model(values: Mapping[str, Any]) -> ResolvableModel | None:
    """The model of a loader's widgets, from its configuration files alone; None where they are not on this machine.
    InputError or CheckpointError for a name or an option that is not valid, and for a model of the hub that is neither
    here nor may be downloaded; UnsupportedError for a device that is not there."""
    from videogen.backbones.placement import resolve_device
    from videogen.backbones.registry import find_sources, locate, read_model

    name, options = choose_model(values), choose_options(values)
    resolve_device(options.device, options.offload)
    place = locate(name)
    here = isinstance(place, Path) or find_sources(name, options, online=False, detects=False) is not None
    if not here and options.local_files_only:
        raise InputError(f"{name!r} is not on this machine; turn on download, or choose a model that is")
    return read_model(name, options)


def load_engine(values: Mapping[str, Any]) -> Engine:
    """The engine of a loader's widgets, for which ComfyUI's models leave the accelerator. ImportError that names the
    package where one is missing; otherwise raises as `Engine.load`."""
    import torch

    with naming_missing_packages():
        from videogen.backbones.placement import resolve_device
        from videogen.engine.engine import Engine

        name, options = choose_model(values), choose_options(values)
        make_room(torch.device(resolve_device(options.device, options.offload)))
        with torch.inference_mode(False):  # ComfyUI runs nodes within it, and weights are to be ordinary tensors
            return Engine.load(name, **asdict(options))


@contextmanager
def naming_missing_packages() -> Iterator[None]:
    """An import that fails ends in one line with what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ImportError(f"videogen's engine needs the package {error.name!r}: {HOW_TO_INSTALL}") from error


def fingerprint_model(values: Mapping[str, Any]) -> str:
    """Changes when the files of a local model do. Empty for one in the package or on the hub."""
    try:
        path = Path(choose_model(values)).expanduser()
    except (InputError, KeyError):
        return ""
    return fingerprint_files([path] if path.is_file() else sorted(path.rglob("*")) if path.is_dir() else [])


def fingerprint_files(paths: list[Path]) -> str:
    """A digest of names, sizes and times of files; empty without files."""
    found = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths if path.is_file()]
    return hashlib.sha256(repr(found).encode()).hexdigest() if found else ""


def _model_folders() -> list[Path]:
    import folder_paths

    return [folder for place in folder_paths.get_folder_paths(_FOLDERS) for folder in find_model_folders(Path(place))]
