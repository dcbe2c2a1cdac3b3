"""Sources of a model: the base that has the pipeline's index, and the parts that come from elsewhere. No torch here.

A model is one folder or repository, or a single file whose pipeline is completed by a base; single components may come
from other files, folders or repositories. What excludes each other is refused here, before weights are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from videogen.core.errors import CheckpointError, InputError

from ..load_options import LoadOptions
from ..model_spec import read_files
from .header import read_header
from .layout import (
    AUDIO_VAE,
    DENOISER,
    LORA,
    MOTION,
    ROLES,
    TEXT_ENCODER,
    TITLES,
    VAE,
    find_roles,
    find_unread,
    prefix_of,
)
from .location import components_of, full_name, is_file_source, locate
from .motion_adapter import ADAPTER, SCHEDULER, WITH_MOTION, add_motion, read_adapter_config
from .names import HubId, split_revision
from .parts import Part
from .tensors import Header

_DENOISERS = ("transformer", "unet")
#: roles of a single file -> component; several text encoders come from the base
_COMPONENTS = {VAE: "vae", AUDIO_VAE: "audio_vae", TEXT_ENCODER: "text_encoder"}


@dataclass(frozen=True)
class ModelPlace:
    """Where a model is, before its index is read. name, base_name: as they are recorded; base: the folder or
    repository with the index; revision: that was given for a model on the hub; file: the single file that the model
    is; is_local: whether the base is a folder that the user named, not one of the hub's cache."""

    name: str
    base: Path | HubId
    base_name: str
    revision: str | None = None
    file: Path | None = None
    is_local: bool = True

    @property
    def header(self) -> Header:
        """Of the single file."""
        assert self.file is not None
        return read_header(self.file)


@dataclass(frozen=True)
class ModelSources:
    """Where a model is loaded from. place: of the model and of its base; index: of the pipeline; parts: component ->
    where it comes from instead of the base; settings: component -> values that replace those of its configuration."""

    place: ModelPlace
    index: dict[str, Any]
    parts: Mapping[str, Part] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The model, as it is recorded."""
        return self.place.name

    @property
    def base(self) -> Path | HubId:
        """The folder or repository of the pipeline."""
        return self.place.base

    @property
    def recorded(self) -> dict[str, str]:
        """Fields of a request that lead to the same sources again, besides the model."""
        own = {name: part.given for name, part in sorted(self.parts.items()) if part.source != self.place.file}
        revision = {} if self.place.revision is None else {"revision": self.place.revision}
        return revision | ({} if self.place.file is None else {"base": self.place.base_name}) | own

    @property
    def is_plain(self) -> bool:
        """Whether everything is in one folder or repository."""
        return not self.parts


def find_place(name: str, options: LoadOptions) -> tuple[str, Path | HubId]:
    """(name, source) of a model: a folder, a file, or a repository at a revision. InputError for options that do not
    go together with it."""
    bare, revision = split_revision(name)
    if revision is not None and options.revision not in (None, revision):
        raise InputError(f"model={name!r} and revision={options.revision!r} name two revisions; give one of them")
    source = locate(bare)
    revision = revision or options.revision
    if isinstance(source, str):
        source = HubId(source, revision)
    elif revision is not None:
        raise InputError(
            f"revision={revision!r} is of a model on the hub, and {bare} is on this machine; leave it out, or give the "
            "base as base=owner/name@revision"
        )
    if options.base is not None and not is_file_source(source):
        raise InputError(
            f"base={options.base!r} completes a single file, and model={bare!r} is an entire pipeline; leave base out, "
            "or name the file as model (or its component, such as transformer=FILE)"
        )
    return full_name(bare), source


def locate_base(name: str) -> Path | HubId:
    """The base that a file is completed by: a folder or a repository. CheckpointError for another file."""
    source = locate(name)
    if isinstance(source, Path) and source.is_file():
        raise CheckpointError(f"base={name!r} is a file; give a folder in diffusers' layout, or a hub id")
    return source


def source_name(source: Path | HubId) -> str:
    """A source as it is recorded."""
    return source.pinned if isinstance(source, HubId) else str(source.absolute())


def join_sources(
    place: ModelPlace, index: Mapping[str, Any], located: Mapping[str, tuple[str, Path | HubId]]
) -> ModelSources:
    """The sources of a model once its base's index is read.

    located: component -> (name, source) that was given for it. CheckpointError or InputError, naming the file, for a
    part that is damaged, that the pipeline does not have, or that two sources have.
    """
    parts = {name: _given_part(name, given, source) for name, (given, source) in located.items()}
    joined = dict(index)
    if ADAPTER in parts:
        _check_takes_motion(place.name, index)
        joined = add_motion(index)
    if place.file is not None:
        parts = _file_parts(place, joined, parts) | parts
    for name in parts:
        if name not in components_of(joined):
            raise InputError(
                f"{name}={parts[name].given!r}: {joined['_class_name']} has no {name}; its components are "
                f"{', '.join(components_of(joined))}"
            )
    is_image_model = ADAPTER in parts and index["_class_name"] in WITH_MOTION
    settings = {"scheduler": {k: v for k, v in SCHEDULER.items() if k[0] != "_"}} if is_image_model else {}
    return ModelSources(place, joined, parts, settings)


def part_config(part: Part) -> dict[str, Any] | None:
    """The configuration of a part that comes with it, or that its tensors state; None where the base's holds."""
    config = part.own_config()
    if config is None and part.name == ADAPTER and part.file is not None:
        return read_adapter_config(part.header)
    return config


def _given_part(name: str, given: str, source: Path | HubId) -> Part:
    """A component's part. CheckpointError where its file or folder is not one."""
    part = Part(name, source, given)
    if part.file is None:
        if isinstance(source, Path):
            _ = part.subfolder
        return part
    header = part.header
    roles = find_roles(header)
    wanted = ROLES.get(name, name)
    if wanted not in roles:
        found = " and ".join(TITLES[role] for role in roles)
        remedy = _remedy(next(iter(roles)), part.file)
        raise CheckpointError(f"{name}={str(part.file)!r} has a {found} and no {TITLES[wanted]}; {remedy}")
    return Part(name, source, given, prefix_of(header, name))


def _file_parts(place: ModelPlace, index: dict[str, Any], given: Mapping[str, Part]) -> dict[str, Part]:
    """The components of the single file that the model is, except those that are given."""
    assert place.file is not None
    roles = check_is_model(place.header)
    components = components_of(index)
    denoiser = next((name for name in _DENOISERS if name in components), None)
    if denoiser is None:
        raise CheckpointError(f"{index['_class_name']} has no denoiser that a single file can be; give a folder")
    if denoiser in given:
        raise InputError(
            f"model={str(place.file)!r} and {denoiser}={given[denoiser].given!r} are both the denoiser; give "
            "one of them"
        )
    found = {denoiser: Part(denoiser, place.file, place.name, roles[DENOISER])}
    for role, name in _COMPONENTS.items():
        several = role == TEXT_ENCODER and "text_encoder_2" in components
        if role in roles and name in components and name not in given and not several:
            found[name] = Part(name, place.file, place.name, roles[role])
    return found


def check_is_model(header: Header) -> dict[str, str]:
    """Role of each component of a single file -> prefix of its tensors' names. CheckpointError where no denoiser is
    among them, with what the file is."""
    roles = find_roles(header)
    if DENOISER not in roles:
        role = next(iter(roles))
        raise CheckpointError(f"{header.path} has a {TITLES[role]} and no denoiser; {_remedy(role, header.path)}")
    return roles


def find_left_to_base(sources: ModelSources) -> list[str]:
    """Components that a single file has and that are loaded from its base all the same: those that no conversion
    reads, and text encoders where the pipeline has several."""
    place = sources.place
    if place.file is None:
        return []
    found, components = find_unread(place.header), components_of(sources.index)
    if TEXT_ENCODER in find_roles(place.header):
        found += [name for name in components if name.startswith("text_encoder")]
    return [name for name in found if name in components and name not in sources.parts]


def read_configurations(sources: ModelSources) -> dict[str, Mapping[str, Any]]:
    """The configurations of a model's components on this machine; what is missing or damaged is left out."""
    base = sources.base
    found = read_files(sources.index, lambda name: base / name if isinstance(base, Path) else None)
    kinds = {name: kind for name, (_, kind) in components_of(sources.index).items()}
    for name, part in sources.parts.items():
        config = part_config(part)
        if config is not None:
            found[name] = {"_class_name": kinds[name], **config}
    for name, values in sources.settings.items():
        found[name] = {**found.get(name, {}), **values, "_class_name": kinds[name]}
    return found


def _check_takes_motion(name: str, index: Mapping[str, Any]) -> None:
    unet = index.get("unet") or [None, None]
    if unet[1] == "UNetMotionModel":
        raise InputError(
            f"motion_adapter is given, and the UNet of {name!r} has motion modules already; leave it out, or give a "
            "Stable Diffusion model"
        )
    if index["_class_name"] not in WITH_MOTION and ADAPTER not in index:
        raise InputError(
            f"motion_adapter is given, and {name!r} is a {index['_class_name']}; adapters are for "
            f"{', '.join(WITH_MOTION)} and AnimateDiff's pipelines"
        )


def _remedy(role: str, file: Path) -> str:
    if role == LORA:
        return "load the model that it was made for, and give it as loras=FILE (--lora)"
    if role == MOTION:
        return f"give a Stable Diffusion model, and this as motion_adapter={file.name}"
    names = {VAE: "vae", TEXT_ENCODER: "text_encoder", DENOISER: "transformer", AUDIO_VAE: "vae"}
    return f"give it as {names[role]}={file.name}"
