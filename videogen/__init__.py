"""videogen: an inference engine for existing video diffusion models.

    from videogen import Engine
    video = Engine.load("embedded").generate("a red ball moves right on a black background")
    video.save("ball.mp4")

Importing this loads neither torch nor diffusers; the first use does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .core._version import __version__
from .core.lazy import lazy

# In a source checkout attention/, schedulers/ and configs/ are at the repository's root; installed, they are in here.
_root = Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "schedulers" / "__init__.py").is_file():
    __path__.append(str(_root))

if TYPE_CHECKING:
    from .backbones.base import Backbone
    from .backbones.lora.spec import Lora
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
    from .longvideo.render import LongVideo
    from .media.video import Video
    from .request.continuity import Continuity
    from .request.request import RenderRequest
    from .sampling.progress import Progress
    from .sampling.technique import Technique

_HOMES = {
    "Backbone": "backbones.base",
    "Cancelled": "core.errors",
    "CheckpointError": "core.errors",
    "Continuity": "request.continuity",
    "Engine": "engine.engine",
    "InputError": "core.errors",
    "LongVideo": "longvideo.render",
    "Lora": "backbones.lora.spec",
    "MediaError": "core.errors",
    "NumericsError": "core.errors",
    "OutOfMemoryError": "core.errors",
    "Progress": "sampling.progress",
    "RenderRequest": "request.request",
    "ResumeError": "core.errors",
    "Technique": "sampling.technique",
    "UnsupportedError": "core.errors",
    "Video": "media.video",
    "VideogenError": "core.errors",
}

__all__ = [
    "Backbone",
    "Cancelled",
    "CheckpointError",
    "Continuity",
    "Engine",
    "InputError",
    "LongVideo",
    "Lora",
    "MediaError",
    "NumericsError",
    "OutOfMemoryError",
    "Progress",
    "RenderRequest",
    "ResumeError",
    "Technique",
    "UnsupportedError",
    "Video",
    "VideogenError",
    "__version__",
]

__getattr__ = lazy(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
