"""Precision that a folder's configuration states: which library has quantized its weights, and what loading it needs.

Checked before weights are read. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from videogen.attention.kernels.packages import missing
from videogen.core.errors import UnsupportedError

from ..precision.table import PIP_NAMES

_KEY = "quantization_config"
#: quant_method -> the package that diffusers loads it with
_PACKAGES = {
    "auto-round": "auto_round", "bitsandbytes": "bitsandbytes", "modelopt": "modelopt", "nunchaku_lite": "kernels",
    "quanto": "optimum.quanto", "sdnq": "sdnq", "torchao": "torchao",
}  # fmt: skip
_NUNCHAKU = "nunchaku"


def check_stored_precision(config: Mapping[str, Any], place: str, device: str) -> None:
    """UnsupportedError where weights are quantized in a way that diffusers does not load, or loads with a package that
    is not installed or on another device. config: of a component of diffusers; place: its folder, for the message."""
    method = _read_method(config.get(_KEY))
    if method is None:
        return
    what = f"{place} is quantized with {method!r}"
    if method == _NUNCHAKU:
        raise UnsupportedError(
            f"{what}, which is for Nunchaku's own models; diffusers loads checkpoints that were exported for it, of "
            "the quant_method 'nunchaku_lite': use one of them, or the weights in full precision"
        )
    from diffusers.quantizers.auto import AUTO_QUANTIZER_MAPPING

    if not any(name == method or name.startswith(f"{method}_") for name in AUTO_QUANTIZER_MAPPING):
        raise UnsupportedError(
            f"{what}, which diffusers does not load; it loads {', '.join(_PACKAGES)}: use one of them, or the weights "
            "in full precision"
        )
    package = _PACKAGES.get(method)
    name = PIP_NAMES.get(package, package) if package else None
    if package and (reason := missing(package, str(name))):
        raise UnsupportedError(f"{what}, and {reason}: pip install {name}")
    if method == "nunchaku_lite" and device.partition(":")[0] != "cuda":
        raise UnsupportedError(
            f"{what}, which needs an NVIDIA GPU, and this run is on {device}; use the weights in full precision, or as "
            "a GGUF"
        )


def _read_method(stated: Any) -> str | None:
    """The quant_method of a quantization's settings, which those of bitsandbytes may leave out."""
    if not isinstance(stated, Mapping):
        return None
    in_bits = any(stated.get(f"load_in_{bits}bit") for bits in (4, 8))
    return "bitsandbytes" if in_bits else stated.get("quant_method")
