"""`Video`: frames in memory, with their rate and the manifest of their render."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from videogen.core.errors import InputError


@dataclass
class Video:
    """A clip.

    frames: uint8 [frame, height, width, 3] RGB; fps: frames per second; manifest: of the render, where known; times_s:
    the time of each frame, where the file's rate varies; alpha: uint8 [frame, height, width], where the file has it.
    InputError for frames of another shape or type, and for a rate that is not above 0.
    """

    frames: np.ndarray
    fps: Fraction | float = Fraction(16)
    manifest: dict[str, Any] | None = None
    times_s: np.ndarray | None = None
    alpha: np.ndarray | None = None

    def __post_init__(self) -> None:
        check_frames(self.frames)
        if not self.fps > 0 or not math.isfinite(self.fps):
            raise InputError(f"fps={self.fps} must be a finite number above 0")

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Video:
        """Read a video file, GIF, image or folder of images. MediaError where it is damaged or not a video."""
        from .reader import read_video

        return read_video(path)

    def save(self, path: str | os.PathLike[str], *, quality: int | None = None, overwrite: bool = False) -> Path:
        """Write by suffix: .mp4 (H.264), .webm (VP9), .gif, or a folder of PNGs (no suffix). The file is complete or
        absent.

        quality: the codec's CRF, lower is better (None: 16 for mp4, 28 for webm). Files are written at a constant rate
        and without alpha: a clip with varying times or alpha is refused until `times_s` or `alpha` is set to None.
        """
        from .writer import VideoWriter

        self._check_can_be_written()

        height, width = self.frames.shape[1:3]
        with VideoWriter(
            path, fps=self.fps, size=(width, height), quality=quality, overwrite=overwrite, manifest=self.manifest
        ) as writer:
            writer.write(self.frames)
        return writer.path

    def _check_can_be_written(self) -> None:
        if self.alpha is not None:
            raise InputError(
                "this clip has alpha, which is not written; set video.alpha = None to save only the colours"
            )
        if self.times_s is None:
            return
        even = np.arange(len(self)) / float(self.fps) + self.times_s[0]
        if np.abs(self.times_s - even).max() > 0.5 / float(self.fps):
            raise InputError(
                "this clip's frames have varying times; set video.times_s = None to save it at a constant rate"
            )

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in px."""
        return self.frames.shape[2], self.frames.shape[1]

    def __len__(self) -> int:
        return len(self.frames)

    def contact_sheet(self, columns: int = 8, count: int = 16) -> np.ndarray:
        """Up to `count` evenly spaced frames in one image: uint8 [height, width, 3]."""
        chosen = np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(int))
        columns = min(columns, len(chosen))
        rows = -(-len(chosen) // columns)
        width, height = self.size
        sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
        for i, f in enumerate(chosen):
            y, x = i // columns * height, i % columns * width
            sheet[y : y + height, x : x + width] = self.frames[f]
        return sheet


def check_frames(frames: np.ndarray) -> None:
    """InputError where an array is not frames, uint8 [frame, height, width, 3]."""
    shape = getattr(frames, "shape", None)
    if getattr(frames, "dtype", None) != np.uint8 or shape is None or len(shape) != 4 or shape[3] != 3 or 0 in shape:
        kind = getattr(frames, "dtype", type(frames).__name__)
        raise InputError(f"frames must be uint8 [frame, height, width, 3] and not empty, not {kind} {shape}")
