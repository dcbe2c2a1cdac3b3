"""Driving videos of a motion: only the frames that the clip needs are read, so that memory follows the clip."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from videogen.media.file_notes import SOUND
from videogen.media.metadata import read_folder_fps
from videogen.media.reader import read_video

_SILENT = "its sound is not used: the clip is silent"


@dataclass
class DrivingVideoReader:
    """Reads driving videos for a clip, as `compile_motion(..., read_video=)` calls it.

    frames, fps: of the clip (fps: None where unknown); notes: what the files have that their frames do not show, such
    as HDR or sound. A video is used from its beginning at its own pace, so that the clip's duration
    is read; a video without a known rate frame by frame.
    """

    frames: int
    fps: Fraction | float | None
    notes: list[str] = field(default_factory=list)

    def __call__(self, path: str | os.PathLike[str]) -> Any:
        """The part of a video that the clip needs; only its frames where it is a folder of images without a known rate.
        MediaError where it cannot be read."""
        if Path(path).is_dir() and read_folder_fps(Path(path)) is None:
            return read_video(path, frames=self.frames).frames
        if self.fps is None:
            video = read_video(path, frames=self.frames)
        else:
            video = read_video(path, seconds=float((self.frames - 1) / self.fps))
        self.notes += [f"{path}: {_SILENT if note == SOUND else note}" for note in video.notes]
        return video
