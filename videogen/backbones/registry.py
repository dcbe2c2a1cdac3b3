"""Model registry: the table of model families, and loading of a model by name, folder or hub id.

A new family is one file and one row of `FAMILIES` (docs/extending/model_family.md). Importing this module does not load
torch. Weights are safetensors only, and no code from a checkpoint is ever run.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videogen.core.errors import CheckpointError, InputError, nearest, unknown
from videogen.core.lazy import load_object

from .defaults import read_defaults

if TYPE_CHECKING:
    from .base import Backbone


@dataclass(frozen=True)
class Family:
    """A row of the registry.

    pipelines: class names in `model_index.json` that the family loads; the first is used to build the pipeline. home:
    its backbone, as `module:Class` of this package or `package.module:Class`. supports: for the user.
    """

    name: str
    pipelines: tuple[str, ...]
    home: str
    description: str
    supports: str


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "wan",
            ("WanPipeline",),
            "wan:WanBackbone",
            "Wan 2.1 and 2.2: DiT, causal video VAE, flow matching",
            "text to video; two experts; per-token timesteps (2.2 TI2V)",
        ),
        Family(
            "animatediff",
            ("AnimateDiffPipeline",),
            "animatediff:AnimateDiffBackbone",
            "AnimateDiff: Stable Diffusion UNet with motion modules",
            "text to video",
        ),
    )
}

_EMBEDDED_FOLDER = Path(__file__).resolve().parents[1] / "embedded"
EMBEDDED: dict[str, Path] = {"embedded": _EMBEDDED_FOLDER / "dit", "embedded-unet": _EMBEDDED_FOLDER / "unet"}

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_DEVICE = re.compile(r"[a-z]+(:\d+)?")
_PICKLES = ("*.bin", "*.ckpt", "*.pt", "*.pth", "*.pkl")
DEVICES = ("cpu", "cuda", "mps", "xpu")
DTYPES = ("float32", "bfloat16", "float16")
OFFLOADS = ("model", "sequential")


def load(
    name_or_path: str, *, dtype: str | None = None, device: str | None = None, offload: str | None = None
) -> Backbone:
    """Load an embedded model by name, a folder in diffusers' layout, or a hub id.

    dtype: `float32`, `bfloat16`, `float16` (None: fp32 on a CPU, bf16 elsewhere); device: None: the best available;
    offload: `model` or `sequential`, through accelerate, on machines with an accelerator.

    Raises InputError (unknown name), CheckpointError (missing, damaged or unsafe checkpoint), UnsupportedError
    (device).
    """
    source = locate(name_or_path)
    check_choice("dtype", dtype, DTYPES)
    check_device(device)
    check_choice("offload", offload, OFFLOADS)
    index = read_index(source) if isinstance(source, Path) else _hub_index(source)
    family = family_of(index, name_or_path)
    if isinstance(source, Path):
        _refuse_pickles(source)
    from .loading import build_pipeline, digest, place, resolve_device

    target = resolve_device(device, offload)
    pipeline = build_pipeline(family.pipelines[0], source, index, dtype, target)
    place(pipeline, target, offload)
    backbone_class = load_object(family.home, __package__)
    defaults, training = read_defaults(source) if isinstance(source, Path) else ({}, {})
    return backbone_class(pipeline, full_name(name_or_path), digest(source), defaults, training)


def full_name(name_or_path: str) -> str:
    """A name that is valid from any working directory: the path of a checkpoint is made absolute."""
    source = locate(name_or_path)
    return str(source.absolute()) if isinstance(source, Path) and name_or_path not in EMBEDDED else name_or_path


def locate(name_or_path: str) -> Path | str:
    """The folder of an embedded model or of a checkpoint on disk, or the hub id itself."""
    if name_or_path in EMBEDDED:
        return EMBEDDED[name_or_path]
    try:
        path = Path(name_or_path).expanduser()
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, ValueError, RuntimeError) as error:  # a name too long, with NUL, or of an unknown user
        raise InputError(f"model {name_or_path[:60]!r} is not a valid name or folder ({error})") from error
    if is_folder:
        return path
    if exists:
        raise CheckpointError(f"{name_or_path} is a file; give the folder that contains its model_index.json")
    if _HUB_ID.fullmatch(name_or_path) and not name_or_path.startswith("."):
        return name_or_path
    guess = nearest(name_or_path, EMBEDDED)
    hint = f"did you mean {guess!r}? " if guess else ""
    raise InputError(
        f"unknown model {name_or_path!r}; {hint}give {' or '.join(map(repr, EMBEDDED))}, "
        "a folder in diffusers' layout, or a hub id 'owner/name'"
    )


def read_index(folder: Path) -> dict[str, Any]:
    """The folder's `model_index.json`. CheckpointError where it is missing or damaged."""
    path = folder / "model_index.json"
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} is not a checkpoint: it has no model_index.json; give a folder in diffusers' layout"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; the checkpoint is damaged, copy it again") from error
    if not isinstance(index, dict) or "_class_name" not in index:
        raise CheckpointError(f"{path} has no pipeline class; the checkpoint is damaged or not in diffusers' layout")
    return index


def family_of(index: dict[str, Any], name: str) -> Family:
    """The family that loads this index. CheckpointError, with the known pipelines, where none does."""
    class_name = index["_class_name"]
    for family in FAMILIES.values():
        if class_name in family.pipelines:
            return family
    known = ", ".join(p for family in FAMILIES.values() for p in family.pipelines)
    raise CheckpointError(f"{name} is a {class_name!r}, which is not supported yet; supported pipelines: {known}")


def _hub_index(hub_id: str) -> dict[str, Any]:
    from .loading import hub_index

    return hub_index(hub_id)


def _refuse_pickles(folder: Path) -> None:
    """Raise CheckpointError for a component with pickled weights only, before opening it: pickles can run code."""
    for component in (p for p in folder.iterdir() if p.is_dir()):
        pickles = [p for pattern in _PICKLES for p in component.glob(pattern)]
        if pickles and not any(component.glob("*.safetensors")):
            raise CheckpointError(
                f"{pickles[0]} is pickled, which can run code when it is opened; convert it to safetensors"
            )


def check_choice(kind: str, value: str | None, options: tuple[str, ...]) -> None:
    """Raise InputError for an unknown dtype or offload mode."""
    if value is not None and value not in options:
        raise unknown(kind, value, options)


def check_device(device: str | None) -> None:
    """Raise InputError for a device name that is not a kind of `DEVICES`, optionally with a number (cuda:1)."""
    if device is None or (_DEVICE.fullmatch(device) and device.partition(":")[0] in DEVICES):
        return
    raise unknown("device", device, DEVICES)


__all__ = [
    "EMBEDDED",
    "FAMILIES",
    "Family",
    "check_choice",
    "check_device",
    "family_of",
    "full_name",
    "load",
    "locate",
    "read_index",
]
