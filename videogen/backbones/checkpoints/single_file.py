"""Components from single files, through diffusers' `from_single_file`; text encoders through transformers.

A file is first fitted to its model by names and shapes alone (`fitting`); then its tensors are read and converted.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from videogen.attention.kernels.packages import missing
from videogen.core.errors import CheckpointError, UnsupportedError

from ..precision.fp32_modules import fp32_modules, stays_in_fp32
from .configurations import load_config
from .fitting import Fit, Tensors, check_fit, fit_names, name_some
from .gguf_tensors import check_gguf_types, decode_tensors, own_shape, read_gguf_tensors
from .gguf_text import check_text_class, rename_text_tensors
from .layout import PREFIXES
from .names import revision_option
from .parts import Part
from .scaled_weights import apply_scale, check_scaling, is_of_scaling, scale_of
from .sources import ModelSources
from .tensors import GGUF, Header

_log = logging.getLogger("videogen")
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip


@dataclass(frozen=True)
class FittedFile:
    """A file that fits its model. header: of the file; config: of the model, of either library; fit: the conversion of
    its names."""

    part: Part
    header: Header
    model_class: Any
    config: Any
    fit: Fit

    @property
    def is_quantized(self) -> bool:
        """Whether its weights stay quantized once they are loaded."""
        stays = self.header.format == GGUF and hasattr(self.model_class, "load_config")
        return stays and any(name not in ("F32", "F16", "BF16") for name in self.header.dtypes)


def fit_file(part: Part, model_class: Any, sources: ModelSources) -> FittedFile:
    """The file of a part, fitted to the model that the configuration describes. No weights are read.

    CheckpointError, with counts and names, for a file of another model; UnsupportedError for a format that the
    component cannot be loaded from.
    """
    header, is_text_model = part.header, not hasattr(model_class, "load_config")
    if header.format == GGUF:
        _check_takes_gguf(part, model_class)
        check_gguf_types(header)
    else:
        check_scaling(header, header.path)
    config: Any
    to_library: Callable[..., Tensors] | None
    if is_text_model:
        config = _load_text_config(part, model_class, sources)
        model, settings = _build_empty(lambda: model_class(config)), {}
        to_library = rename_text_tensors if header.format == GGUF else None
    else:
        config = load_config(model_class, sources, part.name, online=True)
        model = _build_empty(lambda: model_class.from_config(config))
        to_library, settings = _conversion_of(model_class), config
    tensors = {name: _meta(header, name) for name in _names_of(part, header)}
    fit, found = fit_names(_without_prefix(tensors, part), model, to_library, settings)
    unknown = check_fit(header.path, found, model, model_class.__name__, _tied(model))
    if unknown:
        _log.warning(
            "%s has %d of %d tensors that %s does not use: %s",
            header.path, len(unknown), len(found), model_class.__name__, name_some(unknown),
        )  # fmt: skip
    return FittedFile(part, header, model_class, config, fit)


def load_fitted(file: FittedFile, dtype: torch.dtype) -> Any:
    """The model with the file's weights, on the CPU and in eval mode. dtype: of a GGUF, that it computes in."""
    names = _names_of(file.part, file.header)
    is_gguf = file.header.format == GGUF
    tensors = read_gguf_tensors(file.header, names) if is_gguf else _read_tensors(file.header, names, dtype)
    converted = file.fit.convert(_without_prefix(tensors, file.part))
    state = {name: tensor for name, tensor in converted.items() if name in file.fit.used}
    if not hasattr(file.model_class, "load_config"):
        return _load_text_model(file, decode_tensors(state, dtype) if is_gguf else state, dtype)
    if not hasattr(file.model_class, "from_single_file"):
        return _fill(file, state, dtype)
    from ..loading import dtype_option

    model = _build_empty(lambda: file.model_class.from_config(file.config))
    buffers = {name: value for name, value in model.state_dict().items() if not value.is_meta}
    options: dict[str, Any] = dtype_option(dtype)
    if file.header.format == GGUF:
        from diffusers import GGUFQuantizationConfig

        options["quantization_config"] = GGUFQuantizationConfig(compute_dtype=dtype)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(dict(file.config), default=list), encoding="utf-8")
        with _without_cast_lines():
            model = file.model_class.from_single_file(buffers | state, config=folder, local_files_only=True, **options)
    if file.header.format != GGUF:
        _restore_precision(file, model, state, dtype)
    return model.eval()


def outline_tensors(file: FittedFile) -> Tensors:
    """The model's names -> tensors of a GGUF as `load_fitted` has them, on the meta device: the bytes of quantized
    ones as uint8."""
    header, tensors = file.header, {}
    for name in _names_of(file.part, file.header):
        facts, tensor = header.tensors[name], _meta(header, name)
        if facts.dtype not in _DTYPES and own_shape(header, name) == facts.shape:
            rows = tensor.shape[0]
            tensor = torch.empty(rows, (facts.end - facts.begin) // rows, dtype=torch.uint8, device="meta")
        tensors[name] = tensor
    converted = file.fit.convert(_without_prefix(tensors, file.part))
    return {name: tensor for name, tensor in converted.items() if name in file.fit.used}


def _load_text_config(part: Part, model_class: Any, sources: ModelSources) -> Any:
    """The configuration of a component of transformers: next to its file, else the base's."""
    own = part.own_config()
    if own is not None:
        return model_class.config_class.from_dict(own)
    base = sources.base
    return model_class.config_class.from_pretrained(
        str(base), subfolder=part.name, local_files_only=isinstance(base, Path), **revision_option(base)
    )


def _load_text_model(file: FittedFile, state: Tensors, dtype: torch.dtype) -> Any:
    model, info = file.model_class.from_pretrained(
        None, config=file.config, state_dict=state, dtype=dtype, output_loading_info=True
    )
    missing = sorted(info["missing_keys"])
    if missing:
        raise CheckpointError(f"{file.header.path} has no weights for {name_some(missing)}; give another file")
    return model.eval()


def _fill(file: FittedFile, state: Tensors, dtype: torch.dtype) -> Any:
    """A model of a class that the library does not load from single files: its own names are those of the file."""
    model = _build_empty(lambda: file.model_class.from_config(file.config))
    model.load_state_dict({name: tensor.to(dtype) for name, tensor in state.items()}, strict=False, assign=True)
    with _without_cast_lines():
        model.to(dtype)
    _restore_precision(file, model, state, dtype)
    return model.eval()


def _restore_precision(file: FittedFile, model: Any, state: Tensors, dtype: torch.dtype) -> None:
    """Give back what the library keeps in fp32 in a folder's models and casts in a file's: modules of a list, and
    buffers that are computed, such as the frequencies of rotary positions."""
    in_fp32 = fp32_modules(model)
    if not in_fp32:
        return
    for name, parameter in [*model.named_parameters(), *model.named_buffers()]:
        if stays_in_fp32(name, in_fp32) and name in state and parameter.is_floating_point():
            parameter.data = state[name].to(torch.float32)
    computed = dict(_build_as_the_library(file, dtype).named_buffers())
    for name, buffer in model.named_buffers():
        if name not in state:
            buffer.data = computed[name]


def _build_as_the_library(file: FittedFile, dtype: torch.dtype) -> Any:
    """The model without weights, built with the default dtype that the library sets when it loads a folder."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return _build_empty(lambda: file.model_class.from_config(file.config))
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _without_cast_lines() -> Iterator[None]:
    """Without diffusers' warning that it casts modules that are to stay in fp32: they are given back."""
    logger = logging.getLogger("diffusers.models.modeling_utils")
    logger.addFilter(_is_not_of_casting)
    try:
        yield
    finally:
        logger.removeFilter(_is_not_of_casting)


def _is_not_of_casting(record: logging.LogRecord) -> bool:
    return "should be kept in float32" not in record.getMessage()


def _build_empty(build: Callable[[], Any]) -> Any:
    from accelerate import init_empty_weights

    with init_empty_weights():
        return build().eval()


def _conversion_of(model_class: Any) -> Callable[..., Tensors] | None:
    """The library's conversion of names for a class; None where it has none."""
    import diffusers
    from diffusers.loaders import single_file_model as library

    for name, row in library.SINGLE_FILE_LOADABLE_CLASSES.items():
        known = getattr(diffusers, name, None)
        if known is not None and issubclass(model_class, known):
            convert: Callable[..., Tensors] = row["checkpoint_mapping_fn"]
            return convert
    return None


def _check_takes_gguf(part: Part, model_class: Any) -> None:
    if not hasattr(model_class, "load_config"):
        check_text_class(part, model_class.__name__)
    elif not hasattr(model_class, "from_single_file"):
        raise UnsupportedError(
            f"{part.given} is a GGUF, from which diffusers does not load {model_class.__name__}; give its safetensors"
        )
    if reason := missing("gguf"):
        raise UnsupportedError(f"{part.given} is a GGUF, and {reason}: pip install 'videogen[quantization]'")


def _names_of(part: Part, header: Header) -> list[str]:
    """The names of a part's tensors in its file, without the scales of others."""
    if part.prefix:
        return [name for name in header.tensors if name.startswith(part.prefix) and not is_of_scaling(name)]
    others = tuple(prefix for prefixes in PREFIXES.values() for prefix in prefixes)
    return [name for name in header.tensors if not name.startswith(others) and not is_of_scaling(name)]


def _without_prefix(tensors: Mapping[str, torch.Tensor], part: Part) -> Tensors:
    return {name.removeprefix(part.prefix): tensor for name, tensor in tensors.items()}


def _meta(header: Header, name: str) -> torch.Tensor:
    facts = header.tensors[name]
    return torch.empty(own_shape(header, name), dtype=_DTYPES.get(facts.dtype, torch.float32), device="meta")


def _read_tensors(header: Header, names: list[str], dtype: torch.dtype) -> Tensors:
    """Tensors of a safetensors file; scaled ones are multiplied by their scales, to this dtype."""
    from safetensors import safe_open

    found: Tensors = {}
    with safe_open(header.path, framework="pt") as file:
        for name in names:
            scale = scale_of(name, header.tensors.keys()) if name.endswith(".weight") else None
            tensor = file.get_tensor(name)
            found[name] = tensor if scale is None else apply_scale(tensor, file.get_tensor(scale)).to(dtype)
    return found


def _tied(model: Any) -> list[str]:
    """Names of parameters that are copies of others, of a model of transformers."""
    tied = getattr(model, "_tied_weights_keys", None) or ()
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    return [name for name in names if any(re.search(pattern, name) for pattern in tied)]
