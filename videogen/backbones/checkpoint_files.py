"""Files of a checkpoint folder, checked before anything is loaded: missing components, damaged configurations, pickles,
truncated weights, missing shards.

Of safetensors files only the headers are read (a length, then JSON with the offsets of each tensor). No torch here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from videogen.core.errors import CheckpointError

PICKLES = ("*.bin", "*.ckpt", "*.pt", "*.pth", "*.pkl")
#: the names that both libraries load, with a variant such as `fp16` before or after the shard's number; other files in
#: a folder may be of any kind
_LOADED = re.compile(r"(diffusion_pytorch_model|model)(?:\.(\w+))?(-\d+-of-\d+)?(?:\.(\w+))?\.safetensors")
#: torch dtype -> the variants that are nearest to it
_NEAREST = {"float16": ("fp16", "bf16"), "bfloat16": ("bf16", "fp16"), "float32": ("fp32", "bf16", "fp16")}
_LARGEST_HEADER_BYTES = 100 << 20  # the format's own limit
_LARGEST_CONFIGURATION_BYTES = 1 << 20  # larger JSON files are vocabularies


def check_files(folder: Path, components: Iterable[str]) -> None:
    """CheckpointError, naming the file, for a component of the index that is missing, a configuration that is not JSON,
    a component with pickled weights only, and weights that are truncated or lack a shard."""
    missing = next((name for name in components if not (folder / name).is_dir()), None)
    if missing:
        raise CheckpointError(f"{folder} has no {missing!r}, which its model_index.json names; copy the folder again")
    for component in sorted(path for path in folder.iterdir() if path.is_dir()):
        _refuse_pickles(component)
        for path in sorted(component.glob("*.json")):
            if path.stat().st_size <= _LARGEST_CONFIGURATION_BYTES:
                _read_json(path)
        for index in sorted(component.glob("*.safetensors.index*.json")):  # with a variant: index.fp16.json
            _check_shards(index)
        weights = {path: _variant(path.name) for path in sorted(component.glob("*.safetensors"))}
        for path, variant in weights.items():
            if variant == "" or (variant and "" not in weights.values()):
                _check_size(path)


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
    found = {path.name: _LOADED.fullmatch(path.name) for path in sorted(component.glob("*.safetensors"))}
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
    pickles = [path for pattern in PICKLES for path in component.glob(pattern)]
    if pickles and not any(component.glob("*.safetensors")):
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


def _check_size(path: Path) -> None:
    """The file must be as long as its header says."""
    size = path.stat().st_size
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if 0 < length <= _LARGEST_HEADER_BYTES else None
        end = max(_ends(header), default=0) if isinstance(header, dict) else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        end = None
    if end is None:
        raise CheckpointError(
            f"{path} cannot be loaded: it has no safetensors header, so it is damaged or truncated; copy it again"
        )
    expected = 8 + length + end
    if size < expected:
        raise CheckpointError(f"{path} cannot be loaded: it has {size} of its {expected} bytes; copy it again")


def _ends(header: dict[str, Any]) -> Iterator[int]:
    return (int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__")
