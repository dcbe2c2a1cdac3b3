"""Checkpoint loading: from a folder or hub id to a diffusers pipeline on its device, for `registry.load`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from videogen.attention.kernels.packages import hide_broken_packages
from videogen.core.errors import CheckpointError, InputError, OutOfMemoryError, UnsupportedError, VideogenError, nearest
from videogen.core.logs import log_note

from .checkpoint_files import check_weights, weight_variant
from .checkpoints.fitting import name_some
from .checkpoints.location import components_of
from .checkpoints.names import HubId, revision_option
from .checkpoints.parts import Part, read_config
from .checkpoints.single_file import FittedFile, fit_file, load_fitted
from .checkpoints.sources import ModelSources, find_left_to_base
from .checkpoints.stored_precision import check_stored_precision
from .hosting.modular_loading import build_modular
from .hub import files_of
from .precision.component import Chosen, apply, check_components, library_options, precision_of
from .precision.quantizing import is_quantized, load_quantized
from .precision.table import Precision
from .precision.vae_dtype import component_dtype
from .precision.weight_format import WeightFormat

_log = logging.getLogger("videogen")


def build_pipeline(
    class_name: str, sources: ModelSources, dtype: str | None, device: str, precision: Chosen | None = None
) -> Any:
    """The pipeline with its components on the CPU. CheckpointError where weights are missing or do not fit."""
    hide_broken_packages()
    with without_fallback_lines(), _no_bars():
        return _build_pipeline(class_name, sources, dtype, device, precision or {})


def _build_pipeline(class_name: str, sources: ModelSources, dtype: str | None, device: str, precision: Chosen) -> Any:
    import diffusers

    chosen = (
        getattr(torch, dtype) if dtype else (torch.float32 if device.partition(":")[0] == "cpu" else torch.bfloat16)
    )
    pipeline_class = getattr(diffusers, class_name)
    source, parts = sources.base, sources.parts
    found = _load_components(class_name, sources, chosen, precision, device)
    with _explain_failure(str(source), class_name):
        if issubclass(pipeline_class, diffusers.ModularPipeline):
            pipeline = build_modular(pipeline_class, source, sources.index, found)
        else:
            pipeline = pipeline_class.from_pretrained(
                str(source), **dtype_option(chosen), use_safetensors=True, local_files_only=isinstance(source, Path),
                **revision_option(source), **found,
            )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    for name, component in pipeline.components.items():
        if isinstance(component, torch.nn.Module):
            component.eval()
        if name in parts and type(component) is type(found[name]) and component is not found[name]:
            raise CheckpointError(f"{class_name} has not taken {name} from {parts[name].given}")
    return pipeline


def _load_components(
    class_name: str, sources: ModelSources, dtype: torch.dtype, precision: Chosen, device: str
) -> dict[str, Any]:
    """The components that have weights, and those with settings of their own: by name. What can be checked without
    reading weights is checked for all of them first."""
    source, parts = sources.base, sources.parts
    for name, (library, kind) in components_of(sources.index).items():
        if library == "diffusers":
            check_class(import_module(library), kind, f"{source}/{name}")
    named = {
        name: (kind, _model_class(library, kind)) for name, (library, kind) in components_of(sources.index).items()
    }
    models = {name: (kind, model_class) for name, (kind, model_class) in named.items() if model_class is not None}
    check_components(precision, {name: kind for name, (kind, _) in named.items()}, models)
    dtypes = {
        name: component_dtype(name, model_class, class_name, dtype, precision)
        for name, (_, model_class) in models.items()
    }
    fitted: dict[str, FittedFile] = {}
    for name, (kind, model_class) in models.items():
        part = parts.get(name)
        if part is not None and part.file is not None:
            with _explain_failure(str(part.file), kind):
                fitted[name] = fit_file(part, model_class, sources)
                _check_precision(fitted[name], precision_of(name, precision))
        elif isinstance(folder := _folder_of(sources, name), Path):
            _check_folder(folder, kind, model_class, part, device)
    if names := find_left_to_base(sources):
        log_note("%s has its own %s; the base's are used", sources.name, " and ".join(names))
    files, found = files_of(source), {}
    for name, (kind, model_class) in models.items():
        part = parts.get(name)
        with _explain_failure(f"{source}/{name}" if part is None else part.given, kind):
            row, own = precision_of(name, precision), dtypes[name]
            if name in fitted:
                found[name] = load_fitted(fitted[name], own)
                apply(row, found[name], name, own)
            elif part is None:
                found[name] = _component(source, name, model_class, own, files, row)
            else:
                found[name] = _load_part(part, model_class, own, row)
    for name, settings in sources.settings.items():
        with _explain_failure(f"{source}/{name}", named[name][0]):
            found[name] = _with_settings(source, name, named[name][0], settings)
    return found


def _check_folder(folder: Path, kind: str, model_class: Any, part: Part | None, device: str) -> None:
    """CheckpointError or UnsupportedError for a component's folder that cannot be loaded, without reading weights.
    part: where the component does not come from the base."""
    if part is not None:
        part.check_class(kind)
    check_weights(folder, _weights_name(model_class), kind)
    if hasattr(model_class, "load_config") and (folder / "config.json").is_file():
        check_stored_precision(read_config(folder / "config.json"), str(folder), device)


def _folder_of(sources: ModelSources, name: str) -> Path | HubId:
    """The folder of a component's weights, where it is on this machine."""
    part = sources.parts.get(name)
    if part is None:
        return sources.base / name if isinstance(sources.base, Path) else sources.base
    return part.source / part.subfolder if isinstance(part.source, Path) else part.source


def _check_precision(file: FittedFile, row: Precision | WeightFormat | None) -> None:
    """InputError or UnsupportedError where a file cannot be loaded with the precision that was requested."""
    if row is None:
        return
    if file.is_quantized:
        raise InputError(
            f"precision={row.name!r}: {file.part.given} is quantized already; leave precision out for {file.part.name}"
        )
    if isinstance(row, Precision) and row.config:
        raise UnsupportedError(
            f"precision={row.name!r}: its library quantizes folders in diffusers' layout, and {file.part.name} comes "
            f"from the file {file.part.given}; use a precision of videogen's own, such as int8"
        )


def _load_part(part: Part, model_class: Any, dtype: torch.dtype, row: Precision | WeightFormat | None) -> Any:
    """A component from a folder or repository of its own, or of another pipeline."""
    files = files_of(part.source)
    if isinstance(part.source, Path):
        subfolder = part.subfolder
    else:
        subfolder = part.name if f"{part.name}/config.json" in files else ""
    return _component(part.source, subfolder, model_class, dtype, files, row, part.name)


def _with_settings(source: Path | HubId, name: str, kind: str, settings: Mapping[str, Any]) -> Any:
    """A component without weights, of a class of diffusers, with other settings than those of its configuration."""
    import diffusers

    local = isinstance(source, Path)
    return getattr(diffusers, kind).from_pretrained(
        str(source), subfolder=name, local_files_only=local, **revision_option(source), **settings
    )


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
    except ImportError as error:  # of a package that the checkpoint's own precision needs
        raise UnsupportedError(f"{what} cannot be loaded as {kind}: {_first_line(error)}") from error
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, SafetensorError) as error:
        raise CheckpointError(f"{what} cannot be loaded as {kind}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _component(
    source: Path | str,
    subfolder: str,
    model_class: Any,
    dtype: torch.dtype,
    files: Iterable[str],
    row: Precision | WeightFormat | None = None,
    name: str = "",
) -> Any:
    """A model of a pipeline. subfolder: its folder within the source, empty for the source itself; files: names of all
    files of the source; row: of the precision that was requested; name: the component, where it is not the folder.

    Both libraries fill missing tensors with random values and a warning; here they are an error.
    """
    from transformers import PreTrainedModel

    place, kind = f"{source}/{subfolder}".rstrip("/"), model_class.__name__
    is_transformers = issubclass(model_class, PreTrainedModel)
    if isinstance(source, Path) and is_quantized(source / subfolder):
        if row is not None:
            raise InputError(f"precision={row.name!r}: {place} is quantized already; leave precision out for it")
        return load_quantized(model_class, source / subfolder, dtype)
    options: dict[str, Any] = {"dtype": dtype} if is_transformers else dtype_option(dtype)
    options |= library_options(row, "transformers" if is_transformers else "diffusers", dtype)
    prefix = f"{subfolder}/" if subfolder else ""
    names = [end for file in files if file.startswith(prefix) and "/" not in (end := file.removeprefix(prefix))]
    if variant := weight_variant(names, dtype, place):
        options |= {"variant": variant}
    if subfolder:
        options |= {"subfolder": subfolder}
    model, loading_info = model_class.from_pretrained(
        str(source), use_safetensors=True, local_files_only=isinstance(source, Path), output_loading_info=True,
        **revision_option(source), **options,
    )  # fmt: skip
    missing = sorted(loading_info["missing_keys"])
    if missing:
        raise CheckpointError(
            f"{place} has no weights for {name_some(missing)}; {kind} needs them; the checkpoint is damaged or of "
            "another model"
        )
    extra = sorted(loading_info["unexpected_keys"])
    if extra:
        _log.warning("%s has %d tensors that %s does not use, such as %s", place, len(extra), kind, extra[0])
    apply(row, model, name or subfolder, dtype)
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


def check_class(library: Any, kind: str, where: str) -> None:
    """CheckpointError where a library does not have a component's class. where: the component's folder."""
    if hasattr(library, kind):
        return
    near = nearest(kind, dir(library))
    hint = f"; did you mean {near!r}?" if near else ";"
    raise CheckpointError(
        f"{where} is a {kind!r}, which {library.__name__} {library.__version__} does not have{hint} update "
        f"{library.__name__}, or correct model_index.json"
    )


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
