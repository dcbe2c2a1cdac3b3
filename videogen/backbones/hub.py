"""Model repositories on the hub and in its local cache: their index, their files, their folder."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from videogen.attention.kernels.packages import hide_broken_packages
from videogen.core.errors import CheckpointError

from .checkpoints.file_names import is_left_over
from .checkpoints.names import HubId, find_cached, revision_option

_TIMEOUT_S = 10.0


def cached_index(hub_id: str) -> dict[str, Any] | None:
    """The index of a hub repository from the local cache, as `hub_index`; None where it is not there."""
    with suppress(OSError, ValueError):
        return _load_index(hub_id, local_files_only=True)
    return None


def _load_index(hub_id: str, **options: Any) -> dict[str, Any]:
    """`model_index.json`, or else `modular_model_index.json`. OSError or ValueError where there is neither."""
    hide_broken_packages()
    from diffusers import DiffusionPipeline, ModularPipeline

    options |= revision_option(hub_id)
    with suppress(OSError, ValueError):
        return dict(DiffusionPipeline.load_config(str(hub_id), **options))
    return dict(ModularPipeline.load_config(str(hub_id), **options))


def hub_index(hub_id: str) -> dict[str, Any]:
    """`model_index.json` of a hub repository, or else its `modular_model_index.json`, from the local cache or the
    hub."""
    cached = cached_index(hub_id)
    if cached is not None:
        return cached
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(str(hub_id), timeout=_TIMEOUT_S, **revision_option(hub_id))  # fails at once: no retries
        return _load_index(hub_id)
    except Exception as error:  # the hub's client raises many types, offline or not found
        raise _unavailable(hub_id, error) from error


def _unavailable(hub_id: str, error: Exception) -> CheckpointError:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    name = hub_id.pinned if isinstance(hub_id, HubId) else hub_id
    return CheckpointError(
        f"{name!r} is neither in the local cache nor available from the hub: {first[:200]}; give a folder, or go online"
    )


def find_hub_file(name: HubId, *, online: bool) -> Path | None:
    """The local copy of one file of a repository, `owner/name/folder/file.gguf`; None where it is not in the local
    cache and may not be fetched."""
    from huggingface_hub import hf_hub_download

    owner, repository, *rest = str(name).split("/")
    hub_id, file = HubId(f"{owner}/{repository}", name.revision), "/".join(rest)
    cached = find_cached(hub_id, file)
    if cached is not None or not online:
        return cached
    try:
        return Path(hf_hub_download(str(hub_id), file, **revision_option(hub_id)))
    except Exception as error:  # the hub's client raises many types, offline or not found
        raise CheckpointError(f"{name} is not a file on this machine; {_unavailable(name, error)}") from error


def commit_of(hub_id: HubId) -> str | None:
    """The commit of a repository's copy in the local cache, or of one of its files; None where it is not there."""
    owner, repository, *rest = str(hub_id).split("/")
    names = ["/".join(rest)] if rest else ["model_index.json", "modular_model_index.json", "config.json"]
    folder = HubId(f"{owner}/{repository}", hub_id.revision)
    found = next(filter(None, (find_cached(folder, name) for name in names)), None)
    parents = [] if found is None else [path.name for path in found.parents]
    return parents[parents.index("snapshots") - 1] if "snapshots" in parents else None


def files_of(source: Path | str) -> list[str]:
    """Names of a model's files, such as `vae/config.json`: of a folder, of a repository on the hub or, where the hub
    cannot be reached, of its snapshot in the local cache."""
    if isinstance(source, Path):
        return _names_in(source)
    from huggingface_hub import HfApi, snapshot_download

    try:
        siblings = HfApi().model_info(str(source), timeout=_TIMEOUT_S, **revision_option(source)).siblings or []
        return [sibling.rfilename for sibling in siblings]
    except Exception:  # the hub's client raises many types; `hub_index` has raised what matters
        with suppress(OSError, ValueError):
            return _names_in(Path(snapshot_download(str(source), local_files_only=True, **revision_option(source))))
    return []


def _names_in(folder: Path) -> list[str]:
    files = (path.relative_to(folder) for pattern in ("*", "*/*") for path in folder.glob(pattern))
    return [path.as_posix() for path in files if not is_left_over(path)]


def cached_folder(hub_id: str) -> Path | None:
    """The snapshot of a repository in the local cache; None where it is not there."""
    from diffusers import DiffusionPipeline
    from huggingface_hub import snapshot_download

    with suppress(OSError, ValueError):
        return Path(DiffusionPipeline.download(str(hub_id), local_files_only=True, **revision_option(hub_id)))
    with suppress(OSError, ValueError):  # a snapshot of variants alone, which the library does not look for
        return Path(snapshot_download(str(hub_id), local_files_only=True, **revision_option(hub_id)))
    return None
