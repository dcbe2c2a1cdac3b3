"""Frames that every query sees, whatever a block map leaves out: from latent frames to tokens of one attention call.

In long video, a window copies frames of an earlier one. Their content must reach the other frames, so their keys are
never dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from videogen.core.errors import InputError

from .order import TokenGrid

if TYPE_CHECKING:
    import torch

#: Ranges of tokens, [start, stop).
Spans = tuple[tuple[int, int], ...]
#: Latent frames, counted within the model's input: single ones and ranges [start, stop).
Frames = Sequence["int | tuple[int, int] | range"]


def check_frames(visible_frames: Frames) -> tuple[int, ...]:
    """All frames that are named, ascending, each once. Raises InputError."""
    if isinstance(visible_frames, str) or not isinstance(visible_frames, Sequence):
        raise InputError(f"visible_frames={visible_frames!r} must be a tuple of frames and ranges, such as (0, (4, 8))")
    found: set[int] = set()
    for item in visible_frames:
        if _is_integer(item):
            found.add(item)  # type: ignore[arg-type]
        elif isinstance(item, range):
            found.update(item)
        elif isinstance(item, tuple) and len(item) == 2 and all(map(_is_integer, item)) and item[0] < item[1]:
            found.update(range(*item))
        else:
            raise InputError(
                f"visible_frames has {item!r}; use frames such as 3 and ranges such as (4, 8), which ends before 8"
            )
    if found and min(found) < 0:
        raise InputError(f"visible_frames has {min(found)}; frames count from 0")
    return tuple(sorted(found))


def check_within(frames: Sequence[int], patch_t: int, grid: TokenGrid | None) -> None:
    """InputError for a frame that the model's input does not have. patch_t: latent frames per frame of tokens."""
    if grid is not None and frames[-1] >= grid.frames * patch_t:
        raise InputError(
            f"visible_frames has {frames[-1]}, but the model is called with frames 0 to {grid.frames * patch_t - 1}"
        )


def is_per_frame(video: TokenGrid | None, batch: int, query: torch.Tensor) -> bool:
    """Whether queries [b, h, l, d] have the frames in their batch axis, as in a UNet's spatial attention: no call sees
    another frame.

    batch: of the model's input; 0 where it is unknown.
    """
    if video is None or video.frames == 1 or batch == 0:
        return False
    return query.shape[0] == batch * video.frames and query.shape[2] != video.frames


def frame_tokens(frames: Sequence[int], patch_t: int, video: TokenGrid | None, found: TokenGrid | None) -> Spans | None:
    """The tokens of these latent frames in one call, in the model's token order; None where they are unknown.

    video: the model's input; found: the layout of this call.
    """
    if not frames:
        return ()
    if (
        video is None
        or found is None
        or (found.frames, found.height, found.width) != (video.frames, video.height, video.width)
    ):
        return None
    per_frame = found.height * found.width
    spans: list[tuple[int, int]] = []
    for frame in sorted({frame // patch_t for frame in frames}):
        start = found.before + frame * per_frame
        if spans and spans[-1][1] == start:
            start = spans.pop()[0]
        spans.append((start, found.before + (frame + 1) * per_frame))
    return tuple(spans)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
