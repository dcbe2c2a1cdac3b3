"""Model registry: the table of model families, and loading of a model by name, folder or hub id.

A new family is one file and one row of `FAMILIES` (docs/extending/model_family.md). Importing this module does not load
torch. Weights are safetensors only, and no code from a checkpoint is ever run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from videogen.core.errors import CheckpointError, InputError, UnsupportedError, VideogenError, nearest
from videogen.core.lazy import load_object

from .checkpoint_files import check_files
from .configured import ConfiguredModel
from .defaults import read_defaults
from .hosting.library_version import has_class, installed_version
from .hosting.modular_pipelines import MODULAR_NOT_HOSTED, MODULAR_PIPELINES
from .hosting.pipelines import NOT_HOSTED, PIPELINES
from .load_options import LoadOptions
from .model_spec import ReadSpec, read_files
from .precision.table import check_installed, parse_precision
from .resolvable import ResolvableModel

if TYPE_CHECKING:
    from .base import Backbone

_Model = TypeVar("_Model", bound=ResolvableModel)


@dataclass(frozen=True)
class Family:
    """A row of the registry.

    pipelines: class names in `model_index.json` that the family loads; the first is used to build the pipeline. home:
    its backbone, as `module:Class` of this package or `package.module:Class`. supports: for the user. spec: its
    `model_spec.ReadSpec`, named as `home` is, in a module without torch; "": what a model of the family cannot serve is
    refused a few seconds later, from its outline.
    """

    name: str
    pipelines: tuple[str, ...]
    home: str
    description: str
    supports: str
    spec: str = ""


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "wan",
            ("WanPipeline",),
            "wan:WanBackbone",
            "Wan 2.1 and 2.2: DiT, causal video VAE, flow matching",
            "text to video; two experts; per-token timesteps (2.2 TI2V)",
            spec="wan_spec:read_spec",
        ),
        Family(
            "animatediff",
            ("AnimateDiffPipeline",),
            "animatediff:AnimateDiffBackbone",
            "AnimateDiff: Stable Diffusion UNet with motion modules",
            "text to video",
            spec="animatediff_spec:read_spec",
        ),
    )
}

_HOST = "videogen.backbones.hosting.backbone:HostedBackbone"
_MODULAR_HOST = "videogen.backbones.hosting.modular_backbone:ModularBackbone"
_INDEX, _MODULAR_INDEX = "model_index.json", "modular_model_index.json"
_EMBEDDED_FOLDER = Path(__file__).resolve().parents[1] / "embedded"
EMBEDDED: dict[str, Path] = {"embedded": _EMBEDDED_FOLDER / "dit", "embedded-unet": _EMBEDDED_FOLDER / "unet"}
_KNOWN_NAMES = f"{' or '.join(map(repr, EMBEDDED))}, a folder in diffusers' layout, or a hub id 'owner/name'"

_DEFAULTS = LoadOptions()
_NO_LIMIT = 1 << 30  # tokens: what tokenizers without a limit state is above
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def load(name_or_path: str, options: LoadOptions = _DEFAULTS) -> Backbone:
    """Load an embedded model by name, a folder in diffusers' layout, or a hub id.

    Raises InputError (unknown name), CheckpointError (missing, damaged or unsafe checkpoint), UnsupportedError
    (device).
    """
    source = locate(name_or_path)
    files = _cached_folder(source) if isinstance(source, str) and options.local_files_only else source
    index = read_index(files) if isinstance(files, Path) else _hub_index(files)
    family = family_of(index, name_or_path)
    check_packages(family, name_or_path)
    if isinstance(source, Path):
        check_files(source, components_of(index))
        defaults, training = read_defaults(source)
    else:
        defaults, training = {}, {}
    from .digest import digest
    from .loading import build_pipeline
    from .placement import place, resolve_device
    from .precision.component import check_components

    target = resolve_device(options.device, options.offload)
    precision = parse_precision(options.precision) if options.precision else {}
    check_components(precision, components_of(index))
    check_installed(precision, target)
    pipeline = build_pipeline(family.pipelines[0], files, index, options.chosen_dtype, target, precision)
    place(pipeline, target, options.offload)
    backbone_class = load_object(family.home, __package__)
    backbone = backbone_class(pipeline, full_name(name_or_path), digest(files), defaults, training)
    return _with_fitting_defaults(backbone, defaults)


def _cached_folder(hub_id: str) -> Path:
    """The snapshot of a hub repository in the local cache. CheckpointError where it is not there."""
    index = find_cached_index(hub_id)
    if index is None:
        raise CheckpointError(f"{hub_id!r} is not in the hub's local cache; allow it to be loaded from the hub")
    return index.parent


def read_model(name_or_path: str) -> ConfiguredModel | None:
    """The model as the configuration files on this machine describe it, to resolve requests against without torch.

    None where they do not suffice: a hub id that is not in the local cache, a family without a `spec`, a damaged file.
    Raises InputError or CheckpointError as `load`.
    """
    source = locate(name_or_path)
    if isinstance(source, Path):
        index, (defaults, training) = read_index(source), read_defaults(source)
    else:
        if find_cached_index(source) is None:
            return None
        index, defaults, training = read_index(_cached_folder(source)), {}, {}
    family = family_of(index, name_or_path)
    if not family.spec:
        return None
    configurations = read_files(index, _file_finder(source))
    read_spec: ReadSpec = load_object(family.spec, __package__)
    try:
        spec = read_spec(configurations)
        model = ConfiguredModel(full_name(name_or_path), spec, configurations, defaults, training)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):  # of a damaged configuration
        return None
    return _with_fitting_defaults(model, defaults)


def _file_finder(source: Path | str) -> Callable[[str], Path | None]:
    """Where a file of a checkpoint is, from its name within it; None where it is not on this machine."""
    if isinstance(source, Path):
        return lambda name: source / name
    return lambda name: find_cached(source, name)


def find_cached_index(hub_id: str) -> Path | None:
    """The index of a hub repository in the local cache, also that of a modular pipeline; None where it is not there."""
    return find_cached(hub_id, _INDEX) or find_cached(hub_id, _MODULAR_INDEX)


def read_tokenizer_limits(name_or_path: str) -> dict[str, int | None]:
    """Tokens of a prompt that each tokenizer of a checkpoint reads, from its files on this machine; None: any number,
    or not known."""
    source = locate(name_or_path)
    if isinstance(source, Path):
        index: dict[str, Any] = read_index(source)
    else:
        cached = find_cached_index(source)
        index = {} if cached is None else read_index(cached.parent)
    find_file = _file_finder(source)
    names = [name for name, (_, kind) in components_of(index).items() if "Tokenizer" in kind or "tokenizer" in name]
    return {name: _read_token_limit(find_file(f"{name}/tokenizer_config.json")) for name in names}


def _read_token_limit(file: Path | None) -> int | None:
    with suppress(OSError, ValueError, TypeError, KeyError):
        limit = json.loads((file or Path()).read_text(encoding="utf-8"))["model_max_length"]
        return int(limit) if limit < _NO_LIMIT else None
    return None


def find_cached(hub_id: str, file: str) -> Path | None:
    """A file of a hub repository in the local cache; None where it is not there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub_id, file)
    return Path(found) if isinstance(found, str) else None


def load_outline(name_or_path: str, *, online: bool = False) -> Backbone | None:
    """The model as its configuration files describe it, to resolve requests against before its weights are loaded.

    It has no weights, text encoder or device of its own. None where the files do not suffice: loading then says more.
    online: whether those of a hub id may be fetched. Raises InputError or CheckpointError as `load`.
    """
    source = locate(name_or_path)
    if isinstance(source, Path):
        index = read_index(source)
    else:
        from .hub import cached_index

        found = _hub_index(source) if online else cached_index(source)
        if found is None:
            return None
        index = found
    family = family_of(index, name_or_path)
    check_packages(family, name_or_path)
    defaults, training = read_defaults(source) if isinstance(source, Path) else ({}, {})
    from .outline import build_outline

    try:
        pipeline = build_outline(family.pipelines[0], source, index, online=online)
        outline = load_object(family.home, __package__)(pipeline, full_name(name_or_path), "", defaults, training)
    except VideogenError:
        raise
    except Exception:  # whatever a damaged configuration, or a model that needs its weights to be built, raises
        return None
    return _with_fitting_defaults(outline, defaults)


def _with_fitting_defaults(model: _Model, overrides: Mapping[str, Any]) -> _Model:
    """The model. CheckpointError where the size or length that its `defaults.json` sets does not fit it."""
    if overrides:
        default = model.defaults
        try:
            model.geometry.check(default.frames, default.height, default.width, model.name)
        except InputError as error:
            raise CheckpointError(f"defaults.json of {model.name!r} does not fit the model: {error}") from error
    return model


def full_name(name_or_path: str) -> str:
    """A name that is valid from any working directory: the path of a checkpoint is made absolute."""
    source = locate(name_or_path)
    return str(source.absolute()) if isinstance(source, Path) and name_or_path not in EMBEDDED else name_or_path


def locate(name_or_path: str) -> Path | str:
    """The folder of an embedded model or of a checkpoint on disk, or the hub id itself."""
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
    if exists:
        raise CheckpointError(f"{name_or_path} is a file; give the folder that contains its model_index.json")
    if _HUB_ID.fullmatch(name_or_path) and not name_or_path.startswith("."):
        return name_or_path
    guess = nearest(name_or_path, EMBEDDED)
    hint = f"did you mean {guess!r}? " if guess else ""
    raise InputError(f"unknown model {name_or_path!r}; {hint}give {_KNOWN_NAMES}")


def read_index(folder: Path) -> dict[str, Any]:
    """The folder's `model_index.json`, else its `modular_model_index.json`. CheckpointError where it is damaged."""
    modular = not (folder / _INDEX).exists() and (folder / _MODULAR_INDEX).exists()
    path = folder / (_MODULAR_INDEX if modular else _INDEX)
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


def family_of(index: dict[str, Any], name: str) -> Family:
    """The family that loads this index. CheckpointError, with the known pipelines, where none does."""
    class_name = index["_class_name"]
    if not isinstance(class_name, str):
        raise CheckpointError(
            f"{name} names its pipeline as {class_name!r}: it brings code of its own, which is never run; use a "
            "checkpoint of one of diffusers' classes"
        )
    family = find_family(class_name)
    if family is not None:
        return family
    reason = (NOT_HOSTED | MODULAR_NOT_HOSTED).get(class_name)
    if reason is not None:
        raise CheckpointError(f"{name} is a {class_name!r}, which is not supported: {reason}")
    known = [pipeline for own in FAMILIES.values() for pipeline in own.pipelines]
    near = nearest(class_name, [*known, *PIPELINES, *MODULAR_PIPELINES])
    hint = f"; the nearest supported one is {near!r}" if near else ""
    raise CheckpointError(
        f"{name} is a {class_name!r}, which is not supported{hint}; `videogen models --table` lists the "
        f"{len(PIPELINES) + len(MODULAR_PIPELINES)} supported pipelines"
    )


def check_packages(family: Family, name: str) -> None:
    """UnsupportedError where a checkpoint needs a later diffusers, or a package that is not installed."""
    row = (PIPELINES | MODULAR_PIPELINES).get(family.pipelines[0])
    if row is not None and not has_class(row):
        raise UnsupportedError(
            f"{name} is a {row.name!r}, which diffusers has since {row.since}; {installed_version()} is installed: "
            f"pip install 'diffusers>={row.since}'"
        )
    missing = [package for package in (row.packages if row else ()) if find_spec(package) is None]
    if row is not None and missing:
        raise UnsupportedError(
            f"{name} is a {row.name!r}, which needs {row.requires}; install {', '.join(missing)}, or build the "
            "pipeline yourself and give it to Engine.from_pipeline"
        )


def find_family(class_name: str) -> Family | None:
    """The family of a pipeline class: one written here, or else the host; None where neither loads it."""
    own = next((family for family in FAMILIES.values() if class_name in family.pipelines), None)
    row = PIPELINES.get(class_name) or MODULAR_PIPELINES.get(class_name)
    if own is not None or row is None:
        return own
    host = _MODULAR_HOST if class_name in MODULAR_PIPELINES else _HOST
    return Family(row.lineage, (class_name,), host, row.description, ", ".join(row.conditions) or "text to video")


def _hub_index(hub_id: str) -> dict[str, Any]:
    from .hub import hub_index

    return hub_index(hub_id)
