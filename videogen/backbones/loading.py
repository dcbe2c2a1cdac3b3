"""Checkpoint loading: from a folder or hub id to a diffusers pipeline on its device, for `registry.load`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from videogen.attention.kernels.packages import hide_broken_packages
from videogen.core.errors import CheckpointError, InputError, OutOfMemoryError, VideogenError

from .checkpoint_files import check_weights, weight_variant
from .hosting.modular_loading import build_modular
from .hub import files_of
from .precision.component import Chosen, apply, library_options, precision_of
from .precision.quantizing import is_quantized, load_quantized
from .precision.table import Precision
from .precision.weight_format import WeightFormat
from .registry import components_of

_log = logging.getLogger("videogen")


def build_pipeline(
    class_name: str,
    source: Path | str,
    index: dict[str, Any],
    dtype: str | None,
    device: str,
    precision: Chosen | None = None,
) -> Any:
    """The pipeline with its components on the CPU. CheckpointError where weights are missing or do not fit."""
    hide_broken_packages()
    with without_fallback_lines():
        return _build_pipeline(class_name, source, index, dtype, device, precision or {})


def _build_pipeline(
    class_name: str, source: Path | str, index: dict[str, Any], dtype: str | None, device: str, precision: Chosen
) -> Any:
    import diffusers

    chosen = (
        getattr(torch, dtype) if dtype else (torch.float32 if device.partition(":")[0] == "cpu" else torch.bfloat16)
    )
    pipeline_class = getattr(diffusers, class_name)
    local = isinstance(source, Path)
    with _no_bars():
        components: dict[str, Any] = {}
        files = files_of(source)
        for name, (library, kind) in components_of(index).items():
            if isinstance(source, Path) and (model_class := _model_class(library, kind)):
                check_weights(source / name, _weights_name(model_class), kind)
        for name, (library, kind) in components_of(index).items():
            with _explain_failure(f"{source}/{name}", kind):
                row = precision_of(name, precision)
                components[name] = _component(source, name, library, kind, chosen, files, row)
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
            component.eval()
    return pipeline


@contextmanager
def _explain_failure(what: str, kind: str) -> Iterator[None]:
    """Whatever the libraries raise on damaged files, as a CheckpointError. what: the folder that is loaded."""
    from safetensors import SafetensorError

    try:
        yield
    except VideogenError:
        raise
    except MemoryError as error:
        raise OutOfMemoryError(
            f"not enough memory to load {what}; close other programs or use dtype=bfloat16"
        ) from error
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{what} cannot be loaded as {kind}: {first}") from error


def _component(
    source: Path | str,
    name: str,
    library: str,
    kind: str,
    dtype: torch.dtype,
    files: Iterable[str],
    precision: Precision | WeightFormat | None = None,
) -> Any:
    """A model of a pipeline; None for a component without weights, which the pipeline loads itself. files: names of all
    files of the checkpoint.

    Both libraries fill missing tensors with random values and a warning; here they are an error.
    """
    model_class = _model_class(library, kind)
    if model_class is None:
        return None
    if isinstance(source, Path) and is_quantized(source / name):
        if precision is not None:
            raise InputError(
                f"precision={precision.name!r}: {source / name} is quantized already; leave precision out for it"
            )
        return load_quantized(model_class, source / name, dtype)
    options: dict[str, Any] = {"dtype": dtype} if library == "transformers" else dtype_option(dtype)
    options |= library_options(precision, library, dtype)
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
    apply(precision, model, name, dtype)
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
