"""Places of models: an embedded one, a folder, a file, or a repository on the hub. No torch here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from videogen.core.errors import CheckpointError, InputError, nearest

from .file_names import PICKLES, check_weights_name
from .names import WEIGHTS, HubId, split_revision

INDEX, MODULAR_INDEX = "model_index.json", "modular_model_index.json"
_EMBEDDED_FOLDER = Path(__file__).resolve().parents[2] / "embedded"
EMBEDDED: dict[str, Path] = {"embedded": _EMBEDDED_FOLDER / "dit", "embedded-unet": _EMBEDDED_FOLDER / "unet"}
_KNOWN_NAMES = (
    f"{' or '.join(map(repr, EMBEDDED))}, a folder in diffusers' layout, a .safetensors or .gguf file, or a hub id "
    "'owner/name'"
)
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_HUB_FILE = re.compile(rf"[\w.-]+/[\w.-]+(/[\w.-]+)+(?:{'|'.join(map(re.escape, WEIGHTS))})")


def locate(name_or_path: str) -> Path | HubId:
    """The folder of an embedded model, a folder or weights file on disk, or the hub id itself.

    InputError for a name that is none of these; CheckpointError for a file that is not loaded, such as a pickle.
    """
    if name_or_path in EMBEDDED:
        return EMBEDDED[name_or_path]
    if not name_or_path.strip():
        raise InputError(f"model={name_or_path!r} is empty; give {_KNOWN_NAMES}")
    try:
        path = Path(name_or_path).expanduser()
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, ValueError, RuntimeError) as error:  # a name too long, with NUL, or of an unknown user
        raise InputError(f"model {name_or_path[:60]!r} is not a valid name or folder ({error})") from error
    if is_folder:
        return path
    if exists or path.suffix.lower() in PICKLES:
        check_weights_name(path)
        return path
    repository, revision = split_revision(name_or_path)
    if not repository.startswith(".") and (_HUB_ID.fullmatch(repository) or _HUB_FILE.fullmatch(repository)):
        return HubId(repository, revision)
    if path.suffix.lower() in WEIGHTS:
        raise InputError(f"{name_or_path} does not exist; give the file's path")
    guess = nearest(name_or_path, EMBEDDED)
    hint = f"did you mean {guess!r}? " if guess else ""
    raise InputError(f"unknown model {name_or_path!r}; {hint}give {_KNOWN_NAMES}")


def is_file_source(source: Path | HubId) -> bool:
    """Whether a place is that of a file: on this machine, or in a repository on the hub, `owner/name/file.gguf`."""
    return source.is_file() if isinstance(source, Path) else bool(_HUB_FILE.fullmatch(source))


def full_name(name_or_path: str) -> str:
    """A name that is valid from any working directory: the path of a checkpoint is made absolute."""
    source = locate(name_or_path)
    if isinstance(source, Path):
        return name_or_path if name_or_path in EMBEDDED else str(source.absolute())
    return str(source)


def read_index(folder: Path) -> dict[str, Any]:
    """The folder's `model_index.json`, else its `modular_model_index.json`. CheckpointError where it is damaged."""
    modular = not (folder / INDEX).exists() and (folder / MODULAR_INDEX).exists()
    path = folder / (MODULAR_INDEX if modular else INDEX)
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} is not a checkpoint: it has no model_index.json; give a folder in diffusers' layout"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; the checkpoint is damaged, copy it again") from error
    if not isinstance(index, dict) or "_class_name" not in index:
        raise CheckpointError(f"{path} has no pipeline class; the checkpoint is damaged or not in diffusers' layout")
    return index


def components_of(index: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """name -> (library, class) of the components in an index. library: `diffusers`, `transformers`, or the folder of a
    pipeline in diffusers that has classes of its own. Those of a modular index also state where they are."""
    lists = {name: value for name, value in index.items() if isinstance(value, list | tuple) and len(value) in (2, 3)}
    return {name: (library, kind) for name, (library, kind, *_) in lists.items() if library and kind}
