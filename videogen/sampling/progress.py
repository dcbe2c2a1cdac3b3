"""Progress reports of a render: one callback for the command line, notebooks and ComfyUI.

Importing this module does not load torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from videogen.core.errors import Cancelled, InputError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Progress:
    """One report.

    step: finished steps of `steps` in this stage; elapsed_s, remaining_s: of the stage; preview: uint8 [frame, height,
    width, 3] where requested; clips: numbers of the clips that are rendered at once, from 0; clip_count: of the call.
    """

    stage: str
    step: int
    steps: int
    elapsed_s: float
    remaining_s: float | None = None
    preview: np.ndarray | None = None
    clips: range = range(1)
    clip_count: int = 1


#: Return False to stop: the run then raises `Cancelled` and writes nothing.
ProgressCallback = Callable[[Progress], "bool | None"]


def check_progress(callback: object) -> None:
    """InputError for what cannot be called with a `Progress`."""
    if callback is not None and not callable(callback):
        raise InputError(f"progress={callback!r} must be a function that takes a Progress, or None")


def report(callback: ProgressCallback | None, progress: Progress) -> None:
    """Call the callback. Raises `Cancelled` if it returns False."""
    if callback is not None and callback(progress) is False:
        raise Cancelled(
            f"stopped by the caller at {progress.stage} {progress.step}/{progress.steps}; nothing was written"
        )
