"""Files of a checkpoint folder, checked before anything is loaded: missing components, damaged configurations, pickles,
truncated weights, missing shards.

Of safetensors files only the headers are read (a length, then JSON with the offsets of each tensor). No torch here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from videogen.core.errors import CheckpointError

from .checkpoints.file_names import PICKLES, check_links, is_left_over
from .checkpoints.header import read_header
from .checkpoints.location import components_of

if TYPE_CHECKING:
    from .checkpoints.sources import ModelSources

#: the names that both libraries load, with a variant such as `fp16` before or after the shard's number; other files in
#: a folder may be of any kind
_LOADED = re.compile(r"(diffusion_pytorch_model|model)(?:\.(\w+))?(-\d+-of-\d+)?(?:\.(\w+))?\.safetensors")
#: torch dtype -> the variants that are nearest to it
_NEAREST = {"float16": ("fp16", "bf16"), "bfloat16": ("bf16", "fp16"), "float32": ("fp32", "bf16", "fp16")}
_LARGEST_CONFIGURATION_BYTES = 1 << 20  # larger JSON files are vocabularies


def check_sources(sources: ModelSources) -> None:
    """CheckpointError for what is missing, damaged or unsafe in the folders that a model is loaded from, and for
    components of classes that are neither of diffusers nor of transformers. Files were checked as they were found."""
    check_libraries(sources.index, sources.name)
    if sources.place.is_local and isinstance(sources.base, Path):
        check_links(sources.base)
        check_files(sources.base, components_of(sources.index), sources.parts)
    for part in sources.parts.values():
        if isinstance(part.source, Path) and part.file is None:
            check_links(part.source)
            check_component(part.source / part.subfolder)


def check_libraries(index: Mapping[str, Any], name: str) -> None:
    """CheckpointError for a component whose class is in code of the checkpoint's own."""
    spec = find_spec("diffusers")
    folders = [Path(place) / "pipelines" for place in (spec.submodule_search_locations or ())] if spec else []
    for component, (library, kind) in components_of(dict(index)).items():
        known = library.partition(".")[0] in ("diffusers", "transformers")
        if not known and not any((folder / library).exists() for folder in folders):
            raise CheckpointError(
                f"{name}: its {component} is a {kind!r} of {library!r}, which is code of its own and never run; use a "
                "checkpoint of diffusers' and transformers' classes, or give the pipeline to Engine.from_pipeline"
            )


def check_files(folder: Path, components: Iterable[str], replaced: Collection[str] = ()) -> None:
    """CheckpointError, naming the file, for a component of the index that is missing, a configuration that is not JSON,
    a component with pickled weights only, and weights that are truncated or lack a shard.

    replaced: components that come from elsewhere, which are not checked.
    """
    missing = next((name for name in components if name not in replaced and not (folder / name).is_dir()), None)
    if missing:
        raise CheckpointError(f"{folder} has no {missing!r}, which its model_index.json names; copy the folder again")
    for component in sorted(path for path in folder.iterdir() if path.is_dir() and path.name not in replaced):
        if not is_left_over(PurePath(component.name)):
            check_component(component)


def check_component(component: Path) -> None:
    """`check_files` of one component's folder."""
    _refuse_pickles(component)
    for path in _files(component, "*.json"):
        if path.stat().st_size <= _LARGEST_CONFIGURATION_BYTES:
            _read_json(path)
    for index in _files(component, "*.safetensors.index*.json"):  # with a variant: index.fp16.json
        _check_shards(index)
    weights = {path: _variant(path.name) for path in _files(component, "*.safetensors")}
    for path, variant in weights.items():
        if variant == "" or (variant and "" not in weights.values()):
            read_header(path)


def _files(component: Path, pattern: str) -> list[Path]:
    """The files of a folder but those that macOS leaves there."""
    return sorted(path for path in component.glob(pattern) if not is_left_over(PurePath(path.name)))


def weight_variant(names: Iterable[str], dtype: object, component: str) -> str | None:
    """The variant of a component's weights that is loaded, such as `fp16`; None for those without a variant in their
    name, which come first.

    names: of the files in the component's folder, on disk or on the hub. dtype: of torch, as in `torch.float16`, to
    which the nearest is chosen. component: for the message. CheckpointError where there are several, of which none is
    known.
    """
    variants = {_variant(name) for name in names} - {None}
    if "" in variants or not variants:
        return None
    nearest = _NEAREST.get(str(dtype).removeprefix("torch."), ())
    chosen = next((name for name in nearest if name in variants), None)
    if chosen is None and len(variants) > 1:
        names = ", ".join(sorted(str(name) for name in variants))
        raise CheckpointError(
            f"{component} has weights of the variants {names} and none without; delete all but one of them"
        )
    return chosen or variants.pop()


def check_weights(component: Path, base: str, kind: str) -> None:
    """CheckpointError, with the file that is expected, for the folder of a component without weights that are loaded.

    base: the start of their names, `model` or `diffusion_pytorch_model`; kind: the component's class.
    """
    found = {path.name: _LOADED.fullmatch(path.name) for path in _files(component, "*.safetensors")}
    loaded = [match for match in found.values() if match and match[1] == base]
    if any(match[3] is None for match in loaded) or any(component.glob(f"{base}*.safetensors.index*.json")):
        return
    if loaded:
        raise CheckpointError(
            f"{component} has {len(loaded)} weight files, but no {base}.safetensors.index.json, which says what is in "
            "them; copy it again"
        )
    has = f"has {', '.join(list(found)[:3])}, but" if found else "has"
    raise CheckpointError(
        f"{component} {has} no {base}.safetensors, which {kind} loads; copy it again, or give the weights this name"
    )


def _variant(name: str) -> str | None:
    """The variant in the name of a weights file, empty without one; None for a file that is not loaded."""
    match = _LOADED.fullmatch(name)
    return None if match is None else match[2] or match[4] or ""


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; it is damaged: copy it again") from error


def _refuse_pickles(component: Path) -> None:
    """Pickles can run code when they are opened, so they are refused before that."""
    pickles = [path for suffix in PICKLES for path in _files(component, f"*{suffix}")]
    if pickles and not _files(component, "*.safetensors"):
        raise CheckpointError(
            f"{pickles[0]} is pickled, which can run code when it is opened; convert it to safetensors"
        )


def _check_shards(index: Path) -> None:
    weight_map = _read_json(index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise CheckpointError(f"{index} has no weight_map, which names the weight files; copy it again")
    names = sorted(set(weight_map.values()))
    missing = [name for name in names if not (index.parent / str(name)).is_file()]
    if missing:
        raise CheckpointError(
            f"{index.parent} has {len(names) - len(missing)} of {len(names)} weight files; {missing[0]} is missing: "
            "copy it again"
        )
