"""`Video`: frames in memory, with their rate and the manifest of their render."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from videogen.core.checks import check_count
from videogen.core.errors import InputError
from videogen.core.keywords import suggest_keywords
from videogen.core.logs import log_note

if TYPE_CHECKING:
    import torch

    from .audio import Audio


@suggest_keywords
@dataclass(eq=False, repr=False)
class Video:
    """A clip.

    frames: uint8 [frame, height, width, 3] RGB; fps: frames per second; manifest: of the render, where known; times_s:
    the time of each frame, where the file's rate varies; alpha: uint8 [frame, height, width], where the file has it;
    notes: what of the file the frames do not show, such as sound; audio: of a generated clip, from its model or from
    the video that it was made from. InputError for frames of another shape or type, and for a rate that is not above 0.

    A clip can be indexed along its frames: `video[3]` is an image, `video[2:9]` and `video[::2]` are clips that keep
    their pace, and any other index applies to `frames`, as in `video[:, :32]`. Clips are equal if they show the same:
    frames, alpha, rate and times; manifests and notes do not count.
    """

    frames: np.ndarray
    fps: Fraction | float = Fraction(16)
    manifest: dict[str, Any] | None = None
    times_s: np.ndarray | None = None
    alpha: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    audio: Audio | None = None

    def __post_init__(self) -> None:
        check_frames(self.frames)
        try:
            valid = self.fps > 0 and math.isfinite(self.fps)
        except TypeError:
            valid = False
        if not valid:
            raise InputError(f"fps={self.fps!r} must be a finite number above 0")
        for name, shape in (("times_s", self.frames.shape[:1]), ("alpha", self.frames.shape[:3])):
            value = getattr(self, name)
            if value is not None and np.shape(value) != shape:
                raise InputError(f"{name} has shape {list(np.shape(value))}; these frames need {list(shape)}")

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Video:
        """Read a video file, a still or animated image, or a folder of images. MediaError where it is damaged or not a
        video. What the frames do not show, such as sound, is in `notes`, and logged."""
        from .reader import read_video

        video = read_video(path)
        for note in video.notes:
            log_note("%s: %s", path, note)
        return video

    @suggest_keywords
    def save(self, path: str | os.PathLike[str], *, quality: int | None = None, overwrite: bool = False) -> Path:
        """Write by suffix: .mp4 and .mkv (H.264), .webm (VP9), .gif, or a folder of PNGs (no suffix). The file
        is complete or absent.

        quality: the codec's CRF, lower is better (None: 16, for webm 28). An odd width or height of an mp4 or mkv is
        made even by repeating the last column or row, because most players refuse it; a GIF has at most 50 frames per
        second. Files are written at a constant rate
        and without alpha: a clip with varying times or alpha is refused until `times_s` or `alpha` is set to None.
        """
        from .writer import VideoWriter

        self._check_can_be_written()

        height, width = self.frames.shape[1:3]
        with VideoWriter(
            path,
            fps=self.fps,
            size=(width, height),
            quality=quality,
            overwrite=overwrite,
            manifest=self.manifest,
            audio=self.audio,
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

    def __repr__(self) -> str:
        width, height = self.size
        length = f"{len(self)} frame{'s' * (len(self) > 1)} of {width}x{height}, {float(self.fps):g} fps"
        extras = [name for name in ("times_s", "alpha", "manifest") if getattr(self, name) is not None]
        return f"<Video: {', '.join([length, *extras])}>"

    def _repr_html_(self) -> str:
        from .notebook import video_html

        return video_html(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Video):
            return NotImplemented
        return self.fps == other.fps and all(
            _same(getattr(self, name), getattr(other, name)) for name in ("frames", "times_s", "alpha")
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.frames, dtype, copy=copy)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.frames)

    @overload
    def __getitem__(self, index: slice) -> Video: ...

    @overload
    def __getitem__(self, index: Any) -> Any: ...

    def __getitem__(self, index: Any) -> Any:
        return cut(self, index) if isinstance(index, slice) else self.frames[index]

    def to_pil(self) -> list[Any]:
        """The frames as Pillow images, RGB, or RGBA where the clip has alpha."""
        from PIL import Image

        if self.alpha is None:
            return [Image.fromarray(frame) for frame in self.frames]
        return [Image.fromarray(frame) for frame in np.concatenate([self.frames, self.alpha[..., None]], -1)]

    def to_tensor(self) -> torch.Tensor:
        """The frames as float32 [frame, 3, height, width] from 0 to 1, the layout of diffusers' `pt` output."""
        import torch

        return torch.from_numpy(np.ascontiguousarray(self.frames.transpose(0, 3, 1, 2))).float() / 255

    @suggest_keywords
    def contact_sheet(self, columns: int = 8, count: int = 16) -> np.ndarray:
        """Up to `count` evenly spaced frames in one image of up to `columns` columns: uint8 [height, width, 3].

        InputError for values that are not whole numbers of at least 1.
        """
        check_count("columns", columns, 1)
        check_count("count", count, 1)
        chosen = np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(int))
        columns = min(columns, len(chosen))
        rows = -(-len(chosen) // columns)
        width, height = self.size
        sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
        for i, f in enumerate(chosen):
            y, x = i // columns * height, i % columns * width
            sheet[y : y + height, x : x + width] = self.frames[f]
        return sheet


def cut(video: Video, part: slice) -> Video:
    """The frames of a slice as a clip of the same pace: of every second frame at half the rate.

    The manifest gains `excerpt`, the range of frames that it is of its render. InputError for a slice without frames.
    """
    chosen = range(len(video))[part]
    if not chosen:
        raise InputError(f"video[{part.start}:{part.stop}:{part.step}] has none of the {len(video)} frames")
    if chosen == range(len(video)):
        return video
    times_s = None
    if video.times_s is not None:
        times_s = np.abs(video.times_s[part] - video.times_s[chosen[0]])
    manifest = video.manifest
    if manifest is not None:
        taken = range(*manifest.get("excerpt", (0, len(video), 1)))[part]
        manifest = {**manifest, "excerpt": [taken.start, taken.stop, taken.step]}
    return Video(
        video.frames[part], video.fps / (abs(chosen.step) if len(chosen) > 1 else 1), manifest, times_s,
        None if video.alpha is None else video.alpha[part], video.notes, _cut_audio(video, chosen),
    )  # fmt: skip


def _cut_audio(video: Video, chosen: range) -> Audio | None:
    """The audio of consecutive frames; None of others, which it would not fit."""
    if video.audio is None or chosen.step != 1:
        return None
    from .audio import Audio

    start, stop = (round(frame * video.audio.rate / video.fps) for frame in (chosen.start, chosen.stop))
    samples = video.audio.samples[:, start:stop]
    return Audio(samples.copy(), video.audio.rate) if samples.shape[1] else None


def _same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is other or (one is not None and other is not None and np.array_equal(one, other))


def visible_alpha(alpha: np.ndarray | None) -> np.ndarray | None:
    """The alpha of a clip; None where all of it is opaque, as in a GIF without transparency."""
    return None if alpha is None or alpha.min() == 255 else alpha


def check_frames(frames: np.ndarray) -> None:
    """InputError where an array is not frames, uint8 [frame, height, width, 3]."""
    shape = getattr(frames, "shape", None)
    if getattr(frames, "dtype", None) != np.uint8 or shape is None or len(shape) != 4 or shape[3] != 3 or 0 in shape:
        kind = getattr(frames, "dtype", type(frames).__name__)
        raise InputError(f"frames must be uint8 [frame, height, width, 3] and not empty, not {kind} {shape}")
