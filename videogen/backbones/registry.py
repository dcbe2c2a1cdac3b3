"""Model registry: the table of model families, and loading of a model by name, folder or hub id.

A new family is one file and one row of `FAMILIES` (docs/extending/model_family.md). Importing this module does not load
torch. Weights are safetensors only, and no code from a checkpoint is ever run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from videogen.attention.kernels.packages import missing
from videogen.core.errors import CheckpointError, InputError, UnsupportedError, VideogenError, nearest
from videogen.core.lazy import load_object

from .checkpoints.location import (
    EMBEDDED,
    INDEX,
    MODULAR_INDEX,
    components_of,
    full_name,
    is_file_source,
    locate,
    read_index,
)
from .checkpoints.names import HubId, find_cached
from .configured import ConfiguredModel
from .defaults import read_defaults
from .hosting.library_version import has_class, installed_version
from .hosting.modular_pipelines import MODULAR_NOT_HOSTED, MODULAR_PIPELINES
from .hosting.pipelines import NOT_HOSTED, PIPELINES
from .load_options import LoadOptions
from .model_spec import ReadSpec
from .precision.table import check_installed, parse_precision
from .resolvable import ResolvableModel

if TYPE_CHECKING:
    from .base import Backbone
    from .checkpoints.sources import ModelSources

__all__ = [
    "EMBEDDED", "FAMILIES", "Family", "check_packages", "components_of", "family_of", "find_cached", "find_family",
    "full_name", "load", "load_outline", "locate", "read_index", "read_model",
    "read_tokenizer_limits",
]  # fmt: skip

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
_DEFAULTS = LoadOptions()
_NO_LIMIT = 1 << 30  # tokens: what tokenizers without a limit state is above


def load(name_or_path: str, options: LoadOptions = _DEFAULTS) -> Backbone:
    """Load an embedded model by name, a folder in diffusers' layout, a hub id, or a file that a base completes.

    Raises InputError (unknown name), CheckpointError (missing, damaged or unsafe checkpoint), UnsupportedError
    (device).
    """
    sources = find_sources(name_or_path, options, online=not options.local_files_only)
    if sources is None:
        raise CheckpointError(f"{name_or_path!r} is not in the hub's local cache; allow it to be loaded from the hub")
    family = family_of(sources.index, name_or_path)
    check_packages(family, name_or_path)
    from .checkpoint_files import check_sources

    check_sources(sources)
    from .acceleration import check_compile, set_channels_last
    from .checkpoints.revisions import collect_revisions
    from .digest import digest_sources
    from .loading import build_pipeline
    from .placement import place, resolve_device

    target = resolve_device(options.device, options.offload)
    check_compile(options.compile, target)
    precision = parse_precision(options.precision) if options.precision is not None else {}
    check_installed(precision, target)
    pipeline = build_pipeline(family.pipelines[0], sources, options.chosen_dtype, target, precision)
    place(pipeline, target, options.offload)
    if options.channels_last:
        set_channels_last(pipeline)
    backbone_class = load_object(family.home, __package__)
    defaults, training = _stored_defaults(sources)
    backbone: Backbone = backbone_class(pipeline, sources.name, digest_sources(sources), defaults, training)
    backbone.sources, backbone.revisions = sources.recorded, collect_revisions(sources)
    backbone.compile, backbone.channels_last = options.compile, options.channels_last
    return _with_fitting_defaults(backbone, defaults)


def find_sources(name_or_path: str, options: LoadOptions, *, online: bool, detects: bool = True) -> ModelSources | None:
    """Where a model is loaded from. None where that is not on this machine and the hub may not be reached (`online`),
    or where the base of a file would have to be detected from its tensors, which imports torch (`detects`).

    Raises InputError or CheckpointError as `load`.
    """
    from .checkpoints.sources import ModelPlace, find_place, join_sources, source_name

    name, source = find_place(name_or_path, options)
    file: Path | None = None
    base: Path | HubId | None = source
    if is_file_source(source):
        file = source if isinstance(source, Path) else _find_hub_file(source, online)
        base = None if file is None else _base_of(file, options, detects)
    found = None if base is None else _read_index_of(base, online)
    located = {component: _locate_part(component, given, online) for component, given in options.components.items()}
    if base is None or found is None or None in located.values():
        return None
    index, where = found
    revision = getattr(source, "revision", None)
    place = ModelPlace(name, where, source_name(base), revision, file, is_local=isinstance(base, Path))
    parts = {component: (options.components[component], part) for component, part in located.items() if part}
    return join_sources(place, index, parts)


def _base_of(file: Path, options: LoadOptions, detects: bool) -> Path | HubId | None:
    """What completes a single file: the given base, or that of the model that the file is of."""
    from .checkpoints.header import read_header
    from .checkpoints.sources import check_is_model, locate_base

    header = read_header(file)
    check_is_model(header)
    if options.base is not None:
        return locate_base(options.base)
    if not detects:
        return None
    from .checkpoints.detection import detect_base

    return detect_base(header, two_experts=options.transformer_2 is not None)


def _read_index_of(base: Path | HubId, online: bool) -> tuple[dict[str, Any], Path | HubId] | None:
    """(index, place) of a pipeline: a folder, or a repository; of that, offline, the snapshot in the local cache."""
    if isinstance(base, Path):
        return read_index(base), base
    if online:
        return _hub_index(base), base
    cached = find_cached(base, INDEX) or find_cached(base, MODULAR_INDEX)
    return None if cached is None else (read_index(cached.parent), cached.parent)


def _locate_part(component: str, given: str, online: bool) -> Path | HubId | None:
    """Where a component comes from; None where that is on the hub, and is neither here nor may be fetched."""
    source = locate(given)
    if isinstance(source, Path):
        return source
    if is_file_source(source):
        return _find_hub_file(source, online)
    if online:
        return source
    found = (find_cached(source, f"{folder}config.json") for folder in (f"{component}/", ""))
    return next((path.parent for path in found if path is not None), None)


def _stored_defaults(sources: ModelSources) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a folder's `defaults.json` overrides; nothing for a model of the hub."""
    base = sources.base
    return read_defaults(base) if sources.place.is_local and isinstance(base, Path) else ({}, {})


def read_model(name_or_path: str, options: LoadOptions = _DEFAULTS) -> ConfiguredModel | None:
    """The model as the configuration files on this machine describe it, to resolve requests against without torch.

    None where they do not suffice: a hub id that is not in the local cache, a family without a `spec`, a damaged file.
    Raises InputError or CheckpointError as `load`.
    """
    sources = find_sources(name_or_path, options, online=False, detects=False)
    if sources is None:
        return None
    defaults, training = _stored_defaults(sources)
    family = family_of(sources.index, name_or_path)
    if not family.spec:
        return None
    from .checkpoints.sources import read_configurations

    configurations = read_configurations(sources)
    read_spec: ReadSpec = load_object(family.spec, __package__)
    try:
        spec = read_spec(configurations)
        model = ConfiguredModel(sources.name, spec, configurations, defaults, training)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):  # of a damaged configuration
        return None
    model.sources = sources.recorded
    return _with_fitting_defaults(model, defaults)


def read_tokenizer_limits(name_or_path: str, options: LoadOptions = _DEFAULTS) -> dict[str, int | None]:
    """Tokens of a prompt that each tokenizer of a checkpoint reads, from its files on this machine; None: any number,
    or not known."""
    sources = find_sources(name_or_path, options, online=False)
    if sources is None or not isinstance(sources.base, Path):
        return {}
    components = components_of(sources.index).items()
    names = [name for name, (_, kind) in components if "Tokenizer" in kind or "tokenizer" in name]
    return {name: _read_token_limit(sources.base / name / "tokenizer_config.json") for name in names}


def _read_token_limit(file: Path) -> int | None:
    with suppress(OSError, ValueError, TypeError, KeyError):
        limit = json.loads(file.read_text(encoding="utf-8"))["model_max_length"]
        return int(limit) if limit < _NO_LIMIT else None
    return None


def load_outline(name_or_path: str, options: LoadOptions = _DEFAULTS, *, online: bool = False) -> Backbone | None:
    """The model as its configuration files describe it, to resolve requests against before its weights are loaded.

    It has no weights, text encoder or device of its own. None where the files do not suffice: loading then says more.
    online: whether those of a hub id may be fetched. Raises InputError or CheckpointError as `load`.
    """
    sources = find_sources(name_or_path, options, online=online)
    if sources is None:
        return None
    family = family_of(sources.index, name_or_path)
    check_packages(family, name_or_path)
    defaults, training = _stored_defaults(sources)
    from .outline import build_outline

    try:
        pipeline = build_outline(family.pipelines[0], sources, online=online)
        outline: Backbone = load_object(family.home, __package__)(pipeline, sources.name, "", defaults, training)
    except VideogenError:
        raise
    except Exception:  # whatever a damaged configuration, or a model that needs its weights to be built, raises
        return None
    outline.sources = sources.recorded
    outline.left_out = _read_left_out(sources, pipeline)
    return _with_fitting_defaults(outline, defaults)


def _read_left_out(sources: ModelSources, outline: Any) -> dict[str, dict[str, Any]]:
    """Configurations of the components that an outline leaves out, as far as they are on this machine, with the class
    that the index names."""
    absent = {
        name: kind for name, (_, kind) in components_of(sources.index).items() if getattr(outline, name, None) is None
    }
    return {name: {**_read_component(sources, name), "_class_name": kind} for name, kind in absent.items()}


def _read_component(sources: ModelSources, name: str) -> dict[str, Any]:
    """A component's configuration on this machine; empty where there is none, or a damaged one."""
    from .checkpoints.parts import read_config

    part, base = sources.parts.get(name), sources.base
    with suppress(CheckpointError):
        own = None if part is None else part.own_config()
        if own is not None:
            return own
        path = base / name / "config.json" if isinstance(base, Path) else find_cached(base, f"{name}/config.json")
        return {} if path is None else read_config(path)
    return {}


def _with_fitting_defaults(model: _Model, overrides: Mapping[str, Any]) -> _Model:
    """The model. CheckpointError where the size or length that its `defaults.json` sets does not fit it."""
    if overrides:
        default = model.defaults
        try:
            model.geometry.check(default.frames, default.height, default.width, model.name)
        except InputError as error:
            raise CheckpointError(f"defaults.json of {model.name!r} does not fit the model: {error}") from error
    return model


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
    unusable = {package: reason for package in (row.packages if row else ()) if (reason := missing(package))}
    if row is not None and unusable:
        raise UnsupportedError(
            f"{name} is a {row.name!r}, which needs {row.requires}: {', and '.join(unusable.values())}; "
            f"install {', '.join(unusable)}, or build the pipeline yourself and give it to Engine.from_pipeline"
        )


def find_family(class_name: str) -> Family | None:
    """The family of a pipeline class: one written here, or else the host; None where neither loads it."""
    own = next((family for family in FAMILIES.values() if class_name in family.pipelines), None)
    row = PIPELINES.get(class_name) or MODULAR_PIPELINES.get(class_name)
    if own is not None or row is None:
        return own
    host = _MODULAR_HOST if class_name in MODULAR_PIPELINES else _HOST
    return Family(row.lineage, (class_name,), host, row.description, ", ".join(row.conditions) or "text to video")


def _find_hub_file(name: HubId, online: bool) -> Path | None:
    from .hub import find_hub_file

    return find_hub_file(name, online=online)


def _hub_index(hub_id: str) -> dict[str, Any]:
    from .hub import hub_index

    return hub_index(hub_id)
