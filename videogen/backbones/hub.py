"""Model repositories on the hub and in its local cache: their index, their files, their folder."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from videogen.attention.kernels.packages import hide_broken_packages
from videogen.core.errors import CheckpointError

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

    with suppress(OSError, ValueError):
        return dict(DiffusionPipeline.load_config(hub_id, **options))
    return dict(ModularPipeline.load_config(hub_id, **options))


def hub_index(hub_id: str) -> dict[str, Any]:
    """`model_index.json` of a hub repository, or else its `modular_model_index.json`, from the local cache or the
    hub."""
    cached = cached_index(hub_id)
    if cached is not None:
        return cached
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(hub_id, timeout=_TIMEOUT_S)  # fails at once, where the loader would retry
        return _load_index(hub_id)
    except Exception as error:  # the hub's client raises many types, offline or not found
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{hub_id!r} is neither in the local cache nor available from the hub: {first[:200]}; give a folder, or go "
            "online"
        ) from error


def files_of(source: Path | str) -> list[str]:
    """Names of a model's files, such as `vae/config.json`: of a folder, of a repository on the hub or, where the hub
    cannot be reached, of its snapshot in the local cache."""
    if isinstance(source, Path):
        return _names_in(source)
    from huggingface_hub import HfApi, snapshot_download

    try:
        siblings = HfApi().model_info(source, timeout=_TIMEOUT_S).siblings or []
        return [sibling.rfilename for sibling in siblings]
    except Exception:  # the hub's client raises many types; `hub_index` has raised what matters
        with suppress(OSError, ValueError):
            return _names_in(Path(snapshot_download(source, local_files_only=True)))
    return []


def _names_in(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.glob("*/*")]


def cached_folder(hub_id: str) -> Path | None:
    """The snapshot of a repository in the local cache; None where it is not there."""
    from diffusers import DiffusionPipeline
    from huggingface_hub import snapshot_download

    with suppress(OSError, ValueError):
        return Path(DiffusionPipeline.download(hub_id, local_files_only=True))
    with suppress(OSError, ValueError):  # a snapshot of variants alone, which the library does not look for
        return Path(snapshot_download(hub_id, local_files_only=True))
    return None
