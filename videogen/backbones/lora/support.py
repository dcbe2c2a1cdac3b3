"""Which models take LoRAs: those whose denoiser has diffusers' adapter loader, with peft installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from videogen.attention.kernels.packages import missing
from videogen.core.errors import UnsupportedError

_INSTALL = "pip install 'videogen[lora]'"


def check_peft() -> None:
    """UnsupportedError where peft is not installed, or its import fails."""
    if reason := missing("peft"):
        raise UnsupportedError(f"LoRAs need the package peft: {reason}: {_INSTALL}")
    from diffusers.utils import USE_PEFT_BACKEND

    if not USE_PEFT_BACKEND:
        raise UnsupportedError(f"diffusers does not take this version of peft; install a later one: {_INSTALL}")


def check_supported(denoisers: Sequence[Any], name: str) -> None:
    """UnsupportedError for a class without diffusers' adapter loader. name: the model's, for the message."""
    for model in denoisers:
        kind = type(getattr(model, "_orig_mod", model))
        if not hasattr(kind, "load_lora_adapter"):
            raise UnsupportedError(f"LoRAs cannot run on {name!r}: {unsupported_reason(kind.__name__)}; leave them out")


def unsupported_reason(class_name: str) -> str:
    """Why a class of denoiser takes no LoRA."""
    return f"diffusers has no adapter loader for its denoiser, {class_name}"
