"""What a caller hears while a video is made: one callback for the command line, a notebook or ComfyUI. No torch
here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from videogen.core.errors import Cancelled

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Progress:
    """One report. step counts finished steps of `steps` in this stage; preview: uint8 [frame, h, w, 3] where asked
    for."""

    stage: str
    step: int
    steps: int
    elapsed_s: float
    remaining_s: float | None = None
    preview: np.ndarray | None = None


#: Return False to stop: the run then raises `Cancelled` and writes nothing.
ProgressCallback = Callable[[Progress], "bool | None"]


def report(callback: ProgressCallback | None, progress: Progress) -> None:
    """Call back, and raise `Cancelled` where the caller asks to stop."""
    if callback is not None and callback(progress) is False:
        raise Cancelled(
            f"stopped by the caller at {progress.stage} {progress.step}/{progress.steps}; nothing was written"
        )
