"""Models that a manifest or a job names: which may be loaded unasked, and whether their weights have
changed since.

A video or a job may come from a stranger, and so may the model that it names. Importing this loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from videogen.core.errors import InputError, ResumeError

from .registry import find_cached_index, locate

if TYPE_CHECKING:
    from .base import Backbone


def check_allowed(name: str | None, where: str, *, allow_model: bool = False) -> None:
    """InputError for a model that would come from the hub, unless it is allowed. Embedded models and local folders may
    be loaded if `check_recorded_weights` finds the recorded digest.

    name: the model of the manifest's request (None: the embedded one); where: the manifest's file, for the message.
    """
    source = locate(name or "embedded")
    if isinstance(source, str) and not allow_model:
        raise InputError(
            f"{where} names model={source!r}, which is neither embedded nor a folder here; if you trust it, add "
            "--allow-model (allow_model=True in Python) to load it from the hub or its cache, or name another model"
        )


def check_job_model(name: str | None, where: str, *, allow_model: bool = False) -> None:
    """InputError for a job's model that would have to be fetched from the hub, unless it is allowed. Embedded models,
    local folders and models in the hub's local cache may be loaded: a model has been there since a job was started
    here. Load one of the cache with `local_files_only`.

    name: the model of the job's request (None: the embedded one); where: the job's folder, for the message.
    """
    source = locate(name or "embedded")
    if isinstance(source, str) and not allow_model and find_cached_index(source) is None:
        raise InputError(
            f"{where} names model={source!r}, which is neither embedded, a folder here, nor in the hub's local cache; "
            "if you trust it, add --allow-model to load it from the hub"
        )


def check_job_weights(name: str | None, recorded: Mapping[str, Any], where: str) -> None:
    """ResumeError where a job was started with other weights, which are hashed without being loaded. One of the hub
    that is not in the local cache passes, and so do weights that the render had in memory: the journal compares them.
    recorded: the job's `model`; otherwise as `check_job_model`."""
    stored = recorded.get("hash")
    present = None if "components_hash" in recorded else _present_digest(name, None, False)
    if None not in (stored, present) and stored != present:
        raise ResumeError(
            f"{where} was started with other weights of {name or 'embedded'} ({str(stored)[:8]} then, "
            f"{str(present)[:8]} now); restore them, or delete the folder to start over"
        )


def check_recorded_weights(
    name: str | None, recorded: Mapping[str, Any], where: str, loaded: Backbone | None = None
) -> None:
    """InputError where a model's weights are not those that the manifest records.

    name, where: as for `check_allowed`; recorded: the manifest's `model`. loaded: the model; None: its files are hashed
    without being loaded. Then a model of the hub that is not in the local cache passes, and so do weights that the
    render had in memory (`Engine.from_pipeline`), whose digest only the loaded components have.
    """
    in_memory = "components_hash" in recorded
    stored = recorded.get("components_hash" if in_memory else "hash")
    if loaded is None and in_memory:
        return
    present = _present_digest(name, loaded, in_memory)
    if present is None or stored == present:
        return
    then = str(stored)[:8] if stored else "not recorded"
    cause = ", or its pipeline had another dtype, or parts that were changed after loading" if in_memory else ""
    raise InputError(
        f"{name or 'embedded'} has other weights than when {where} was rendered ({then} then, {present[:8]} now)"
        f"{cause}, so its frames cannot be reproduced; to render with the present weights, name the model with "
        "--model (in Python: Engine.load)"
    )


def _present_digest(name: str | None, loaded: Backbone | None, in_memory: bool) -> str | None:
    if loaded is not None:
        from .in_memory import digest_components

        return digest_components(loaded.pipeline, with_source=False) if in_memory else loaded.digest
    from .digest import digest

    source = locate(name or "embedded")
    found = digest(source)
    return None if isinstance(source, str) and found == "unknown" else found
