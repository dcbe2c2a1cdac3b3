"""Motion sources: a driving video, point tracks, flow files. These classes are specifications; `source_fields` reads
the files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from videogen.core.errors import InputError, unknown
from videogen.core.keywords import suggest_keywords

from .flow import FlowPair
from .region import check_region
from .spec import FITS, TIMINGS, Motion, check_number


@suggest_keywords
@dataclass(frozen=True)
class Transfer(Motion):
    """Motion of a driving video, measured by optical flow.

    video: frames uint8 [frame, height, width, 3], an object with such `.frames`, a path (then `compile_motion` needs
    `read_video`), or the `FlowPair` of its frames. Its flow is scaled to the clip's size; the aspect ratio must agree
    within 2 %, unless `fit` is `crop` (the centre of its frames is used) or `stretch`. The video is used from its
    beginning, at its original pace where both it (`.fps`) and the clip have a rate, otherwise frame by frame; where it
    ends within the clip's last interval, its last frame is held, and a shorter video is an error. With the `timing`
    `stretch`, all of it is spread over the clip instead. region: only this region of the first frame moves, as an
    object over the layers below; None: the entire frame.
    """

    video: Any
    region: Any = None
    fit: str = "exact"
    timing: str = "frames"

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise unknown("fit of a driving video", str(self.fit), FITS)
        _check_timing(self.timing)
        frames = getattr(self.video, "frames", self.video)
        if not isinstance(frames, str | os.PathLike | np.ndarray | FlowPair):
            raise InputError(f"video={type(self.video).__name__} must be frames, a clip or a path")
        _check(self)


@suggest_keywords
@dataclass(frozen=True)
class Tracks(Motion):
    """Motion of point tracks, interpolated smoothly between the points (thin-plate splines).

    file: `.npz` with `tracks` [frame, point, 2] in px, and optionally `visibility` [frame, point] and the `size`
    (width, height) of the video in which they were tracked (default: the clip's); or the tracks as an array, in which
    points are not visible where they are NaN. size: the same, of an array. region: as for Transfer. timing: `frames`
    (the clip may end before the tracks) or `stretch` (all of them are spread over the clip).
    """

    file: Any
    region: Any = None
    size: tuple[float, float] | None = None
    timing: str = "frames"

    def __post_init__(self) -> None:
        if not isinstance(self.file, str | os.PathLike | np.ndarray):
            raise InputError(f"file={type(self.file).__name__} must be a path or tracks [frame, point, 2]")
        _check_timing(self.timing)
        if self.size is not None:
            width, height = (check_number("size", side, 0.0) for side in self.size)
            object.__setattr__(self, "size", (width, height))
        _check(self)


@suggest_keywords
@dataclass(frozen=True)
class Flow(Motion):
    """Motion by given optical flow, from each frame to the next.

    file: a path that `flow_files.read_flow` reads (one file with all fields, or a folder with one file per pair), or an
    array [frames - 1, 2, height, width] in px. It is scaled to the clip's size; the aspect ratio must agree within 2 %.
    Backward flow is computed by inversion; where two points move to the same place, the faster one is assumed to be in
    front. region: as for Transfer.
    """

    file: Any
    region: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.file, str | os.PathLike | np.ndarray):
            raise InputError(f"file={type(self.file).__name__} must be a path or flow [frames - 1, 2, height, width]")
        _check(self)


def _check_timing(timing: object) -> None:
    if timing not in TIMINGS:
        raise unknown("timing of a source", str(timing), TIMINGS)


def _check(source: Transfer | Tracks | Flow) -> None:
    if source.region is not None:
        object.__setattr__(source, "region", check_region(source.region))
