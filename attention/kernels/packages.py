"""Optional packages, with attention kernels or used by the libraries: whether they can be imported here, and why not.

A package may be installed and still fail to import, such as one that was built for another torch. It is left out, as if
it were not installed; diffusers and transformers, which import what is installed, are kept from it by
`hide_broken_packages`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import cache

#: Package -> the module of it whose import shows that it works.
_MODULES = {
    "flash_attn_interface": "flash_attn_interface",
    "flash_attn": "flash_attn",
    "xformers": "xformers.ops",
    "sageattention": "sageattention",
    "triton": "triton",
}
#: The same for what diffusers and transformers import together with any pipeline, and what videogen itself imports
#: where it is needed, where it is installed.
_LIBRARY_MODULES = {
    "bitsandbytes": "bitsandbytes",
    "cv2": "cv2",
    "decord": "decord",
    "ftfy": "ftfy",
    "gguf": "gguf",
    "hqq": "hqq",
    "kornia": "kornia",
    "onnxruntime": "onnxruntime",
    "optimum.quanto": "optimum.quanto",
    "peft": "peft",
    "scipy": "scipy.stats",
    "sdnq": "sdnq",
    "soundfile": "soundfile",
    "torch_npu": "torch_npu",
    "torch_xla": "torch_xla",
    "torchao": "torchao",
    "torchaudio": "torchaudio",
    "torchsde": "torchsde",
    "torchvision": "torchvision",
}


def missing(package: str, name: str = "") -> str | None:
    """Why the package cannot be used; None where it can. name: of the package for the message."""
    name = name or package
    if not _is_installed(package):
        return f"{name} is not installed"
    error = _import_error(package)
    return None if error is None else f"{name} is installed, but its import fails ({error}); install it again"


def _is_installed(package: str) -> bool:
    """Whether it is there, hidden or not."""
    try:
        return package in sys.modules or importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


@cache
def _import_error(package: str) -> str | None:
    """What importing the package raises; None where it succeeds."""
    try:
        importlib.import_module((_MODULES | _LIBRARY_MODULES).get(package, package))
    except (Exception, SystemExit) as error:  # an import may fail in any way
        first = next(iter(str(error).strip().splitlines()), "no message")
        return f"{type(error).__name__}: {first[:110]}"
    return None


def broken_packages() -> dict[str, str]:
    """Every package of the tables that is installed but fails to import, with what its import raises."""
    installed = [name for name in _MODULES | _LIBRARY_MODULES if _is_installed(name)]
    return {name: error for name in installed if (error := _import_error(name)) is not None}


def hide_broken_packages() -> None:
    """Mark the packages that are installed but fail to import as absent for this process, before diffusers looks."""
    for package in broken_packages():
        sys.modules[package] = None  # type: ignore[assignment]  # Python's own mark: its import raises ImportError
