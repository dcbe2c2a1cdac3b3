"""Checkpoint loading: from a folder or hub id to a diffusers pipeline on its device, for `registry.load`."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import torch

from videogen.attention.kernels.packages import hide_broken_packages
from videogen.core.errors import CheckpointError, OutOfMemoryError, UnsupportedError

from .checkpoint_files import check_weights, weight_variant
from .hosting.modular_loading import build_modular
from .registry import components_of

_log = logging.getLogger("videogen")
_HUB_TIMEOUT_S = 10.0
_FULLY_HASHED_BYTES = 64 << 20
_SAMPLE_BYTES = 4096  # of each sample of a larger file
_HEADER_BYTES = 100 << 20  # the format's own limit


def build_pipeline(class_name: str, source: Path | str, index: dict[str, Any], dtype: str | None, device: str) -> Any:
    """The pipeline with its components on the CPU. CheckpointError where weights are missing or do not fit."""
    hide_broken_packages()
    with without_fallback_lines():
        return _build_pipeline(class_name, source, index, dtype, device)


def _build_pipeline(class_name: str, source: Path | str, index: dict[str, Any], dtype: str | None, device: str) -> Any:
    import diffusers

    chosen = (
        getattr(torch, dtype) if dtype else (torch.float32 if device.partition(":")[0] == "cpu" else torch.bfloat16)
    )
    pipeline_class = getattr(diffusers, class_name)
    local = isinstance(source, Path)
    with _no_bars():
        components: dict[str, Any] = {}
        files = _files_of(source)
        for name, (library, kind) in components_of(index).items():
            if isinstance(source, Path) and (model_class := _model_class(library, kind)):
                check_weights(source / name, _weights_name(model_class), kind)
        for name, (library, kind) in components_of(index).items():
            with _explain_failure(f"{source}/{name}", kind):
                components[name] = _component(source, name, library, kind, chosen, files)
        found = {name: component for name, component in components.items() if component is not None}
        with _explain_failure(str(source), class_name):
            if issubclass(pipeline_class, diffusers.ModularPipeline):
                pipeline = build_modular(pipeline_class, source, index, found)
            else:
                pipeline = pipeline_class.from_pretrained(
                    str(source), **dtype_option(chosen), use_safetensors=True, local_files_only=local, **found
                )
    pipeline.set_progress_bar_config(disable=True)
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            component.eval().requires_grad_(False)
    return pipeline


@contextmanager
def _explain_failure(what: str, kind: str) -> Iterator[None]:
    """Whatever the libraries raise on damaged files, as a CheckpointError. what: the folder that is loaded."""
    from safetensors import SafetensorError

    try:
        yield
    except CheckpointError:
        raise
    except MemoryError as error:
        raise OutOfMemoryError(
            f"not enough memory to load {what}; close other programs or use dtype=bfloat16"
        ) from error
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{what} cannot be loaded as {kind}: {first}") from error


def _files_of(source: Path | str) -> list[str]:
    """Names of a model's files, such as `vae/config.json`: of a folder, of a repository on the hub or, where the hub
    cannot be reached, of its snapshot in the local cache."""
    if isinstance(source, Path):
        return _names_in(source)
    from huggingface_hub import HfApi, snapshot_download

    try:
        siblings = HfApi().model_info(source, timeout=_HUB_TIMEOUT_S).siblings or []
        return [sibling.rfilename for sibling in siblings]
    except Exception:  # the hub's client raises many types; `hub_index` has raised what matters
        with suppress(OSError, ValueError):
            return _names_in(Path(snapshot_download(source, local_files_only=True)))
    return []


def _names_in(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.glob("*/*")]


def _component(source: Path | str, name: str, library: str, kind: str, dtype: torch.dtype, files: Iterable[str]) -> Any:
    """A model of a pipeline; None for a component without weights, which the pipeline loads itself. files: names of all
    files of the checkpoint.

    Both libraries fill missing tensors with random values and a warning; here they are an error.
    """
    model_class = _model_class(library, kind)
    if model_class is None:
        return None
    options: dict[str, Any] = {"dtype": dtype} if library == "transformers" else dtype_option(dtype)
    names = [file.removeprefix(f"{name}/") for file in files if file.startswith(f"{name}/")]
    if variant := weight_variant(names, dtype, f"{source}/{name}"):
        options |= {"variant": variant}
    model, loading_info = model_class.from_pretrained(
        str(source), subfolder=name, use_safetensors=True, local_files_only=isinstance(source, Path),
        output_loading_info=True, **options,
    )  # fmt: skip
    missing = sorted(loading_info["missing_keys"])
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise CheckpointError(
            f"{source}/{name} has no weights for {', '.join(missing[:3])}{more}; {kind} needs them; the checkpoint is "
            "damaged or of another model"
        )
    extra = sorted(loading_info["unexpected_keys"])
    if extra:
        _log.warning("%s/%s has %d tensors that %s does not use, such as %s", source, name, len(extra), kind, extra[0])
    return model


def _model_class(library: str, kind: str) -> Any:
    """The class of a component with weights; None for others, and where no module of the libraries has it.

    library: `diffusers`, `transformers` or a module of theirs, or the folder of one of diffusers' pipelines.
    """
    import diffusers

    home: Any = getattr(diffusers.pipelines, library, None)
    if library.partition(".")[0] in ("diffusers", "transformers"):
        with suppress(ImportError):
            home = import_module(library)
    found = getattr(home, kind, None)
    return found if isinstance(found, type) and issubclass(found, torch.nn.Module) else None


def _weights_name(model_class: type) -> str:
    """The start of the names of its weight files."""
    from transformers import PreTrainedModel

    return "model" if issubclass(model_class, PreTrainedModel) else "diffusion_pytorch_model"


def dtype_option(dtype: torch.dtype) -> dict[str, Any]:
    """The dtype as diffusers is given it: its earlier name is deprecated since 0.42."""
    import diffusers

    major, minor = (int(part) for part in diffusers.__version__.split(".")[:2])
    return {"dtype" if (major, minor) >= (0, 42) else "torch_dtype": dtype}


@contextmanager
def without_fallback_lines() -> Iterator[None]:
    """Without transformers' line that an image processor does without torchvision, at the import of diffusers'
    pipelines: videogen processes no images with it. Its other lines are logged."""
    logger = logging.getLogger("transformers.utils.import_utils")
    logger.addFilter(_is_not_of_fallback)
    try:
        yield
    finally:
        logger.removeFilter(_is_not_of_fallback)


def _is_not_of_fallback(record: logging.LogRecord) -> bool:
    return "requires torchvision (not installed); falling back to" not in record.getMessage()


@contextmanager
def _no_bars() -> Iterator[None]:
    """Without the libraries' own progress bars; showing progress is up to the caller."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    switches = [log for log in (diffusers_logging, transformers_logging) if log.is_progress_bar_enabled()]
    for log in switches:
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log in switches:
            log.enable_progress_bar()


def cached_index(hub_id: str) -> dict[str, Any] | None:
    """`model_index.json` of a hub repository from the local cache; None where it is not there."""
    hide_broken_packages()
    from diffusers import DiffusionPipeline

    with suppress(OSError, ValueError):
        return dict(DiffusionPipeline.load_config(hub_id, local_files_only=True))
    return None


def hub_index(hub_id: str) -> dict[str, Any]:
    """`model_index.json` of a hub repository, from the local cache or the hub."""
    cached = cached_index(hub_id)
    if cached is not None:
        return cached
    from diffusers import DiffusionPipeline
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(hub_id, timeout=_HUB_TIMEOUT_S)  # fails at once, where the loader would retry
        return dict(DiffusionPipeline.load_config(hub_id))
    except Exception as error:  # the hub's client raises many types, offline or not found
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{hub_id!r} is neither in the local cache nor available from the hub: {first[:200]}; give a folder, or go "
            "online"
        ) from error


def best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def resolve_device(device: str | None, offload: str | None) -> str:
    """The device of a run. UnsupportedError where it is not available, or offloading has no effect on it."""
    target = device or best_device()
    kind, _, number = target.partition(":")
    counts = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
        "xpu": torch.xpu.device_count(),
    }
    if not counts[kind]:
        raise UnsupportedError(
            f"device={target!r} is not available (none was found, or torch was built without it); use 'cpu'"
        )
    if number and int(number) >= counts[kind]:
        raise UnsupportedError(
            f"device={target!r} is not available: there are {counts[kind]} {kind} devices, counted from 0"
        )
    if offload and kind == "cpu":
        raise UnsupportedError(f"offload={offload!r} needs an accelerator to offload from; leave it out on the CPU")
    return target


def place(pipeline: Any, target: str, offload: str | None) -> None:
    """Move the pipeline to the device, or let accelerate keep its components on the CPU until they are used."""
    if offload and not hasattr(pipeline, "enable_model_cpu_offload"):
        raise UnsupportedError(
            f"offload={offload!r}: {type(pipeline).__name__} is modular, and offloads by a components manager of its "
            "own; build it with one and give it to Engine.from_pipeline"
        )
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=target)
    elif offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=target)
    else:
        pipeline.to(target)


def digest(source: Path | str) -> str:
    """Digest of a model: a hash over every config, and over each safetensors file's name, size and content.

    For files above 64 MiB only the beginning, middle and end of each tensor are hashed, so that a checkpoint of many
    gigabytes takes little time. `defaults.json` is left out: its values are in every resolved request.
    """
    folder = source if isinstance(source, Path) else _hub_folder(source)
    if folder is None:
        return "unknown"
    state = hashlib.sha256()
    files = (
        p
        for p in folder.rglob("*")
        if p.suffix in (".safetensors", ".json") and p.name != "defaults.json" and p.is_file()
    )
    for path in sorted(files):
        size = path.stat().st_size
        state.update(f"{path.relative_to(folder).as_posix()}:{size}\n".encode())
        with open(path, "rb") as file:
            sampled = path.suffix == ".safetensors" and size > _FULLY_HASHED_BYTES
            for begin, length in _samples(file, size) if sampled else ((0, size),):
                file.seek(begin)
                state.update(file.read(length))
    return state.hexdigest()[:32]


def _samples(file: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """(begin, length) of the samples of a large safetensors file: its header, and both ends and the middle of each
    tensor.

    A file whose header cannot be read, such as a broken variant that no pipeline loads, is sampled as one tensor.
    """
    header = int.from_bytes(file.read(8), "little")
    tensors = [(8, size)]
    if header <= _HEADER_BYTES:
        with suppress(ValueError, TypeError, LookupError, AttributeError):
            entries = json.loads(file.read(header))
            offsets = [entries[name]["data_offsets"] for name in entries if name != "__metadata__"]
            tensors = [(8 + header + int(begin), 8 + header + int(end)) for begin, end in offsets] or tensors
    yield 0, min(size, 8 + min(header, _HEADER_BYTES))
    for begin, end in sorted(tensors):
        length = min(_SAMPLE_BYTES, end - begin)
        yield from ((begin, length), ((begin + end - length) // 2, length), (end - length, length))


def _hub_folder(hub_id: str) -> Path | None:
    from diffusers import DiffusionPipeline
    from huggingface_hub import snapshot_download

    with suppress(OSError, ValueError):
        return Path(DiffusionPipeline.download(hub_id, local_files_only=True))
    with suppress(OSError, ValueError):  # a snapshot of variants alone, which the library does not look for
        return Path(snapshot_download(hub_id, local_files_only=True))
    return None
