"""Motion that comes from elsewhere: another clip, point tracks, flow files. Only what is asked for; `compiling` reads
it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from videogen.core.errors import InputError

from .region import check_region
from .spec import Motion


@dataclass(frozen=True)
class Transfer(Motion):
    """Move as another clip moves, measured by optical flow.

    video: frames uint8 [frame, height, width, 3], an object with such `.frames`, or a path (then `compile` needs
    `read_video`). Its flow is scaled to the clip's size; the shape must be the same within 2 %. Its beginning is used,
    at its own pace where it has a rate (`.fps`) and the clip too, else frame by frame; one that is too short is an
    error. region: only this region of the first frame moves, as an object over what is below; None: the whole picture.
    """

    video: Any
    region: Any = None

    def __post_init__(self) -> None:
        frames = getattr(self.video, "frames", self.video)
        if not isinstance(frames, str | os.PathLike | np.ndarray):
            raise InputError(f"video={type(self.video).__name__} must be frames, a clip or a path")
        _check(self)


@dataclass(frozen=True)
class Tracks(Motion):
    """Points that move, and all between them smoothly along (thin-plate splines).

    file: `.npz` with `tracks` [frame, point, 2] in px, optionally `visibility` [frame, point] and `size` (width,
    height) of the picture that they were tracked in (default: the clip's); or the tracks as an array. region: as for
    Transfer.
    """

    file: Any
    region: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.file, str | os.PathLike | np.ndarray):
            raise InputError(f"file={type(self.file).__name__} must be a path or tracks [frame, point, 2]")
        _check(self)


@dataclass(frozen=True)
class Flow(Motion):
    """Move by given optical flow, from each frame to the next.

    file: a path that `flow_files.read_flow` reads (one file with all fields, or a folder with one a pair), or an array
    [frames - 1, 2, height, width] in px. Scaled to the clip's size; the shape must be the same within 2 %. Backward
    flow is found by inversion; where two places go to one, the faster is taken to be in front. region: as for Transfer.
    """

    file: Any
    region: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.file, str | os.PathLike | np.ndarray):
            raise InputError(f"file={type(self.file).__name__} must be a path or flow [frames - 1, 2, height, width]")
        _check(self)


def _check(source: Transfer | Tracks | Flow) -> None:
    if source.region is not None:
        object.__setattr__(source, "region", check_region(source.region))
