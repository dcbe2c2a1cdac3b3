"""Precisions: how a component's weights are stored, one row each. No torch here.

Rows without a package are videogen's or torch's own and work on every device; the others are what diffusers
integrates, by name. `int2` ... `fp8-svd32` are formats of `weight_format`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from videogen.attention.kernels.packages import missing
from videogen.core.errors import InputError, UnsupportedError, nearest

from .weight_format import WeightFormat, parse_format

#: the components that a precision without a component's name is for
DENOISERS = "denoiser"


@dataclass(frozen=True)
class Precision:
    """A row. dtype: torch's, for what only changes the dtype; config: builds the library's quantization configuration,
    as `module:function` of this package; packages: what it needs; device: the kind of device that it needs."""

    name: str
    description: str
    dtype: str = ""
    config: str = ""
    packages: tuple[str, ...] = ()
    device: str = ""


_LIBRARY = "library_configs"
PRECISIONS: dict[str, Precision] = {
    row.name: row
    for row in (
        Precision("fp32", "32-bit floats", dtype="float32"),
        Precision("bf16", "bfloat16", dtype="bfloat16"),
        Precision("fp16", "16-bit floats; layers and VAEs that overflow in them stay in 32 bits", dtype="float16"),
        Precision("fp8-storage", "8-bit floats in memory, cast layer by layer to the dtype of the run"),
        Precision("torchao-int8", "8-bit integers, weights only", config=f"{_LIBRARY}:torchao_int8",
                  packages=("torchao",)),
        Precision("torchao-int8-dynamic", "8-bit integers, weights and activations",
                  config=f"{_LIBRARY}:torchao_int8_dynamic", packages=("torchao",)),
        Precision("torchao-int4", "4-bit integers, weights only", config=f"{_LIBRARY}:torchao_int4",
                  packages=("torchao",), device="cuda"),
        Precision("torchao-fp8", "8-bit floats, weights and activations; compute capability 8.9 or later",
                  config=f"{_LIBRARY}:torchao_fp8", packages=("torchao",), device="cuda"),
        Precision("bnb-int8", "8-bit integers, and columns with outliers in 16 bits (LLM.int8)",
                  config=f"{_LIBRARY}:bitsandbytes_int8", packages=("bitsandbytes",), device="cuda"),
        Precision("bnb-nf4", "4-bit normal floats", config=f"{_LIBRARY}:bitsandbytes_nf4", packages=("bitsandbytes",),
                  device="cuda"),
        Precision("quanto-int8", "8-bit integers, weights only", config=f"{_LIBRARY}:quanto_int8",
                  packages=("optimum.quanto",)),
        Precision("sdnq-int8", "8-bit integers, weights only", config=f"{_LIBRARY}:sdnq_int8", packages=("sdnq",)),
        Precision("sdnq-uint4-svd", "4-bit integers with a low-rank branch", config=f"{_LIBRARY}:sdnq_uint4_svd",
                  packages=("sdnq",)),
    )
}  # fmt: skip
#: name of a package as pip knows it, where it is not the module's
PIP_NAMES = {"optimum.quanto": "optimum-quanto", "modelopt": "nvidia-modelopt", "auto_round": "auto-round"}
#: precisions that only a checkpoint brings, and how one is loaded
_CHECKPOINTS = {
    "gguf": "a GGUF file states the format of each tensor; give the file, as the model or as transformer=",
    "nunchaku": "a Nunchaku checkpoint that was exported for diffusers (quant_method `nunchaku_lite`) states its "
    "precision; give its folder as the model or as transformer=, on an NVIDIA GPU with the package kernels",
}


def parse_precision(text: str) -> dict[str, Precision | WeightFormat]:
    """component (or `DENOISERS`) -> row or weight format, of `NAME` or `COMPONENT=NAME,...`. InputError for a name that
    is unknown, for a component that is named twice, and for a dtype of a component other than the VAE."""
    found: dict[str, Precision | WeightFormat] = {}
    for part in text.split(","):
        if not part.strip():
            raise InputError(
                f"precision={text!r} names no precision between its commas; give NAME or COMPONENT=NAME,..."
            )
        component, equals, name = part.strip().rpartition("=")
        component = component.strip() if equals else DENOISERS
        if component in found:
            raise InputError(f"precision={text!r} sets {component!r} twice; give each component one precision")
        found[component] = _find(name.strip())
    for component, row in found.items():
        if isinstance(row, Precision) and row.dtype and component not in (DENOISERS, "vae"):
            raise InputError(
                f"precision={text!r}: fp32, bf16 and fp16 are for the entire model or its VAE (vae={row.name}), not "
                f"for {component!r}"
            )
    return found


def dtype_of(text: str | None) -> str | None:
    """The dtype that a precision sets; None for one that sets none."""
    row = parse_precision(text).get(DENOISERS) if text is not None else None
    return (row.dtype or None) if isinstance(row, Precision) else None


def check_installed(chosen: Mapping[str, Precision | WeightFormat], device: str) -> None:
    """UnsupportedError where a precision needs a package that is not installed or broken, or another device."""
    for row in chosen.values():
        if isinstance(row, WeightFormat):
            continue
        for package in row.packages:
            name = PIP_NAMES.get(package, package)
            if reason := missing(package, name):
                raise UnsupportedError(f"precision={row.name!r} needs {name}: {reason}: pip install {name}")
        if row.device and device.partition(":")[0] != row.device:
            raise UnsupportedError(
                f"precision={row.name!r} needs a {row.device} device, and this run is on {device}; int8, fp8 and "
                "int4-svd work on every device"
            )


def _find(name: str) -> Precision | WeightFormat:
    name = name.lower()
    if name in PRECISIONS:
        return PRECISIONS[name]
    if name in _CHECKPOINTS:
        raise InputError(f"precision={name!r} is not made at loading: {_CHECKPOINTS[name]}")
    try:
        return parse_format(name)
    except InputError:
        near = nearest(name, PRECISIONS)
        hint = f"; did you mean {near!r}?" if near else ""
        raise InputError(
            f"precision={name!r} is unknown{hint}; give {', '.join(PRECISIONS)}, or a weight format: int2 to int6, "
            "int8, fp4, fp6, fp8, each also with a low-rank branch, such as int4-svd32"
        ) from None


def describe_precisions() -> str:
    """One sentence for a help text."""
    return (
        "how the denoiser's weights are stored: int8, fp8, int4-svd (any device), "
        f"{', '.join(PRECISIONS)}; another component's: text_encoder=int8, vae=fp32"
    )
