"""Which models take LoRAs: those whose denoiser has diffusers' adapter loader, with peft installed."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from videogen.core.errors import UnsupportedError

_INSTALL = "pip install 'videogen[lora]'"


def check_peft() -> None:
    """UnsupportedError where peft is not installed, or its import fails."""
    try:
        import_module("peft")
    except ModuleNotFoundError as error:
        if error.name != "peft":
            raise _broken(error) from error
        raise UnsupportedError(f"LoRAs need the package peft, which is not installed: {_INSTALL}") from error
    except Exception as error:  # a broken package may raise anything
        raise _broken(error) from error
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


def _broken(error: BaseException) -> UnsupportedError:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return UnsupportedError(f"LoRAs need peft, whose import fails ({first[:200]}); install it again: {_INSTALL}")
