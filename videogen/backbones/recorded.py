"""Models that a manifest or a job names: which may be loaded unasked, and whether their weights have
changed since.

A video or a job may come from a stranger, and so may the model that it names. Importing this loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videogen.core.errors import InputError, ResumeError

from .checkpoints.location import INDEX, MODULAR_INDEX, is_file_source, locate
from .checkpoints.names import HubId, find_cached
from .load_options import LoadOptions
from .registry import find_sources

if TYPE_CHECKING:
    from .base import Backbone

_DEFAULTS = LoadOptions()


def check_allowed(name: str | None, where: str, options: LoadOptions = _DEFAULTS, *, allow_model: bool = False) -> None:
    """InputError for a model, or a part of it, that would come from the hub, unless it is allowed. Embedded models,
    local folders and files may be loaded if `check_recorded_weights` finds the recorded digest.

    name: the model of the manifest's request (None: the embedded one); where: the manifest's file, for the message;
    options: how that request's model is loaded.
    """
    for field, source in _named_sources(name, options).items():
        if not isinstance(source, str) or allow_model:
            continue
        raise InputError(
            f"{where} names {field}={source!r}, which is neither embedded nor a folder here; if you trust it, add "
            "--allow-model (allow_model=True in Python) to load it from the hub or its cache, or name another model"
        )


def check_job_model(
    name: str | None, where: str, options: LoadOptions = _DEFAULTS, *, allow_model: bool = False
) -> None:
    """InputError for a job's model, or a part of it, that would have to be fetched from the hub, unless it is allowed.
    Embedded models, local folders and models in the hub's local cache may be loaded: a model has been there since a
    job was started here. Load one of the cache with `local_files_only`.

    name: the model of the job's request (None: the embedded one); where: the job's folder, for the message; options:
    how that request's model is loaded.
    """
    for field, source in _named_sources(name, options).items():
        if not isinstance(source, str) or allow_model or _is_cached(field, source):
            continue
        raise InputError(
            f"{where} names {field}={source!r}, which is neither embedded, a folder here, nor in the hub's local "
            "cache; if you trust it, add --allow-model to load it from the hub"
        )


def _named_sources(name: str | None, options: LoadOptions) -> dict[str, Path | HubId]:
    """Field of a request -> place that it names: the model, the base, each component."""
    named = {"model": name or "embedded", "base": options.base, **options.components}
    return {field: locate(source) for field, source in named.items() if source is not None}


def _is_cached(field: str, source: HubId) -> bool:
    if is_file_source(source):
        from .hub import find_hub_file

        return find_hub_file(source, online=False) is not None
    names = (INDEX, MODULAR_INDEX) if field in ("model", "base") else (f"{field}/config.json", "config.json")
    return any(find_cached(source, file) is not None for file in names)


def check_job_weights(
    name: str | None, recorded: Mapping[str, Any], where: str, options: LoadOptions = _DEFAULTS
) -> None:
    """ResumeError where a job was started with other weights, which are hashed without being loaded. One of the hub
    that is not in the local cache passes, and so do weights that the render had in memory: the journal compares them.
    recorded: the job's `model`; otherwise as `check_job_model`."""
    stored = recorded.get("hash")
    present = None if "components_hash" in recorded else _present_digest(name, options, None, False)
    if None not in (stored, present) and stored != present:
        raise ResumeError(
            f"{where} was started with other weights of {name or 'embedded'} ({str(stored)[:8]} then, "
            f"{str(present)[:8]} now); restore them, or delete the folder to start over"
        )


def check_recorded_weights(
    name: str | None, recorded: Mapping[str, Any], where: str, loaded: Backbone | None = None,
    options: LoadOptions = _DEFAULTS,
) -> None:  # fmt: skip
    """InputError where a model's weights are not those that the manifest records.

    name, where, options: as for `check_allowed`; recorded: the manifest's `model`. loaded: the model; None: its files
    are hashed without being loaded. Then a model of the hub that is not in the local cache passes, and so do weights
    that the render had in memory (`Engine.from_pipeline`), whose digest only the loaded components have.
    """
    in_memory = "components_hash" in recorded
    stored = recorded.get("components_hash" if in_memory else "hash")
    if loaded is None and in_memory:
        return
    present = _present_digest(name, options, loaded, in_memory)
    if present is None or stored == present:
        return
    then = str(stored)[:8] if stored else "not recorded"
    cause = ", or its pipeline had another dtype, or parts that were changed after loading" if in_memory else ""
    raise InputError(
        f"{name or 'embedded'} has other weights than when {where} was rendered ({then} then, {present[:8]} now)"
        f"{cause}, so its frames cannot be reproduced; to render with the present weights, name the model with "
        "--model (in Python: Engine.load)"
    )


def _present_digest(name: str | None, options: LoadOptions, loaded: Backbone | None, in_memory: bool) -> str | None:
    if loaded is not None:
        from .in_memory import digest_components

        return digest_components(loaded.pipeline, with_source=False) if in_memory else loaded.digest
    from .digest import digest_sources

    sources = find_sources(name or "embedded", options, online=False)
    found = None if sources is None else digest_sources(sources)
    return None if found == "unknown" else found
