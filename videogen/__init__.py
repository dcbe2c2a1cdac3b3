"""videogen: one temporal engine for the video diffusion models people already have.

    from videogen import Engine
    video = Engine.load("embedded").generate("a red ball moves right on a black background")
    video.save("ball.mp4")

Importing this loads neither torch nor diffusers; the first use does.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .core._version import __version__

# In a source checkout attention/, schedulers/ and configs/ lie at the repository's root; installed, they lie in here.
_root = Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "schedulers" / "__init__.py").is_file():
    __path__.append(str(_root))

if TYPE_CHECKING:
    from .core.errors import (
        Cancelled,
        CheckpointError,
        InputError,
        MediaError,
        NumericsError,
        OutOfMemoryError,
        ResumeError,
        UnsupportedError,
        VideogenError,
    )
    from .engine.engine import Engine
    from .media.video import Video
    from .request.request import RenderRequest
    from .sampling.progress import Progress

_HOMES = {
    "Engine": "engine.engine",
    "Progress": "sampling.progress",
    "RenderRequest": "request.request",
    "Video": "media.video",
}
_ERRORS = (
    "Cancelled",
    "CheckpointError",
    "InputError",
    "MediaError",
    "NumericsError",
    "OutOfMemoryError",
    "ResumeError",
    "UnsupportedError",
    "VideogenError",
)

__all__ = [
    "Cancelled",
    "CheckpointError",
    "Engine",
    "InputError",
    "MediaError",
    "NumericsError",
    "OutOfMemoryError",
    "Progress",
    "RenderRequest",
    "ResumeError",
    "UnsupportedError",
    "Video",
    "VideogenError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    home = "core.errors" if name in _ERRORS else _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'videogen' has no attribute {name!r}")
    return getattr(import_module(f".{home}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
