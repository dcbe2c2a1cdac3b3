"""Optional packages with attention kernels: whether they can be imported here, and why not.

A package may be installed and still fail to import, such as one that was built for another torch. It is left out, as if
it were not installed; diffusers, which imports what is installed, is kept from it by `hide_broken_packages`.
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


def missing(package: str, name: str = "") -> str | None:
    """Why the package cannot be used; None where it can. name: of the package for the message."""
    name = name or package
    if package not in sys.modules and importlib.util.find_spec(package) is None:
        return f"{name} is not installed"
    error = _import_error(package)
    return None if error is None else f"{name} is installed, but its import fails ({error}); install it again"


@cache
def _import_error(package: str) -> str | None:
    """What importing the package raises; None where it succeeds."""
    try:
        importlib.import_module(_MODULES[package])
    except Exception as error:  # an import may fail in any way
        first = next(iter(str(error).strip().splitlines()), "no message")
        return f"{type(error).__name__}: {first[:110]}"
    return None


def hide_broken_packages() -> None:
    """Mark the packages that are installed but fail to import as absent for this process, before diffusers looks."""
    for package in _MODULES:
        if importlib.util.find_spec(package) is not None and _import_error(package) is not None:
            sys.modules[package] = None  # type: ignore[assignment]  # Python's own mark: its import raises ImportError
