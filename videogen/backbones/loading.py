"""From a checkpoint's folder or hub id to a placed diffusers pipeline. Used by `registry.load` alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from videogen.core.errors import CheckpointError, OutOfMemoryError, UnsupportedError

from .registry import DEVICES, DTYPES, OFFLOADS, check_choice

_SAMPLE_BYTES = 1 << 20


def build_pipeline(class_name: str, source: Path | str, dtype: str | None, device: str | None) -> Any:
    """The pipeline with its components on the CPU. CheckpointError where it cannot be built."""
    check_choice("dtype", dtype, DTYPES)
    check_choice("device", device, DEVICES)
    import diffusers

    where = device or best_device()
    chosen = getattr(torch, dtype) if dtype else (torch.float32 if where == "cpu" else torch.bfloat16)
    pipeline_class = getattr(diffusers, class_name)
    try:
        with _no_bars():
            pipeline = pipeline_class.from_pretrained(
                str(source), torch_dtype=chosen, use_safetensors=True, local_files_only=isinstance(source, Path)
            )
    except MemoryError as error:
        raise OutOfMemoryError(f"not enough memory to load {source}; close other programs or use dtype=bfloat16") from error
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{source} cannot be loaded as {class_name}: {first}") from error
    pipeline.set_progress_bar_config(disable=True)
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            component.eval().requires_grad_(False)
    return pipeline


@contextmanager
def _no_bars() -> Iterator[None]:
    """The libraries' own loading bars stay off the terminal; progress is the caller's to show."""
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


def hub_index(hub_id: str) -> dict[str, Any]:
    """`model_index.json` of a hub repository, from the local cache or the hub."""
    from diffusers import DiffusionPipeline

    try:
        return dict(DiffusionPipeline.load_config(hub_id))
    except Exception as error:  # the hub's client raises a dozen types, offline or not found
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{hub_id!r} is neither here nor to be had from the hub: {first[:200]}; give a folder, or go online"
        ) from error


def best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def place(pipeline: Any, device: str | None, offload: str | None) -> None:
    """Move the pipeline, or let accelerate hold its components on the CPU until they are used."""
    check_choice("offload", offload, OFFLOADS)
    target = device or best_device()
    kind = target.partition(":")[0]
    if kind == "cuda" and not torch.cuda.is_available():
        raise UnsupportedError("device='cuda' is not here (no CUDA device, or torch was built without CUDA); use 'cpu'")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UnsupportedError("device='mps' is not here; use 'cpu'")
    if offload and kind == "cpu":
        raise UnsupportedError(f"offload={offload!r} needs an accelerator to offload from; leave it out on the CPU")
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=target)
    elif offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=target)
    else:
        pipeline.to(target)


def digest(source: Path | str) -> str:
    """What identifies the weights: a hash over each safetensors file's name, size, head and tail, and every config."""
    folder = source if isinstance(source, Path) else _hub_folder(source)
    if folder is None:
        return "unknown"
    state = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".safetensors", ".json") and p.is_file()):
        size = path.stat().st_size
        state.update(f"{path.relative_to(folder).as_posix()}:{size}\n".encode())
        with open(path, "rb") as file:
            state.update(file.read(_SAMPLE_BYTES))
            file.seek(max(0, size - _SAMPLE_BYTES))
            state.update(file.read(_SAMPLE_BYTES))
    return state.hexdigest()[:32]


def _hub_folder(hub_id: str) -> Path | None:
    from diffusers import DiffusionPipeline

    try:
        return Path(DiffusionPipeline.download(hub_id, local_files_only=True))
    except (OSError, ValueError):
        return None
