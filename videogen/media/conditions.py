"""Images, clips and masks as conditions of a generation: read from files or objects, fitted to a size and a length.

A source is a path, a `Video`, a Pillow image, an array ([height, width, channels] or [frame, height, width, channels],
uint8, or float from 0 to 1), a tensor ([channels, height, width] or [frame, channels, height, width], likewise), or a
list of images. EXIF orientation is applied, alpha is composited on a background, and no aspect ratio is changed (see
`fitting.FITS`). Results are `Video`s: `frames` uint8 [frame, height, width, 3], `to_tensor()`, `to_pil()`, `notes`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from videogen.core.checks import check_count
from videogen.core.errors import InputError

from .fitting import check_fit, fit_frames
from .image_file import scale_to_8_bits
from .images import read_still
from .orientation import from_exif
from .reader import read_video
from .video import Video

if TYPE_CHECKING:
    import torch

BLACK = (0, 0, 0)
#: what happens to a clip that is shorter than needed
SHORT = ("hold", "refuse")
_ORIENTATION = 0x0112  # of EXIF
_STILL_FPS = 1


@dataclass(frozen=True, eq=False)
class ConditionMask:
    """mask: bool [frame, height, width], True where the source is white; notes: what was done to fit its length."""

    mask: np.ndarray
    notes: tuple[str, ...] = ()

    def to_tensor(self) -> torch.Tensor:
        """float32 [frame, 1, height, width] of 0 and 1."""
        import torch

        return torch.from_numpy(self.mask[:, None].astype(np.float32))

    def to_pil(self) -> list[Any]:
        """Grey Pillow images of 0 and 255, one per frame."""
        from PIL import Image

        return [Image.fromarray(image.astype(np.uint8) * 255) for image in self.mask]


def read_condition_image(
    source: Any,
    size: tuple[int, int] | None = None,
    fit: str = "refuse",
    *,
    background: tuple[int, int, int] = BLACK,
    name: str = "image",
) -> Video:
    """An image as a clip of one frame. size: (width, height) in px (None: its own); background: RGB under transparent
    parts and of the bars of `pad`; name: of the argument, for messages.

    InputError for another aspect ratio (with fit `refuse`), several frames, or objects that are not an image;
    MediaError for files that cannot be read.
    """
    video = _fit(_composite(_open(source, None, name), background), size, fit, background, _label(source, name))
    if len(video) != 1:
        raise InputError(f"{name} has {len(video)} frames; give one image")
    return video


def read_condition_clip(
    source: Any,
    frames: int,
    size: tuple[int, int] | None = None,
    fit: str = "refuse",
    *,
    short: str = "hold",
    background: tuple[int, int, int] = BLACK,
    name: str = "video",
) -> Video:
    """A clip of exactly `frames` frames, matched one to one from its beginning. Other arguments as for an image.

    A longer clip is trimmed; where a shorter one ends, its last frame is held, or with short='refuse' it is an
    InputError. `notes` says so, after the source's own notes (HDR, sound, ...).
    """
    check_count("frames", frames, 1)
    video = _composite(_open(source, frames, name), background)
    chosen, notes = _match_length(len(video), frames, short, _label(source, name))
    return _fit(
        Video(video.frames[chosen], video.fps, notes=(*video.notes, *notes)), size, fit, background,
        _label(source, name),
    )  # fmt: skip


def read_condition_mask(
    source: Any,
    frames: int = 1,
    size: tuple[int, int] | None = None,
    fit: str = "refuse",
    *,
    threshold: float = 0.5,
    from_alpha: bool = False,
    short: str = "hold",
    name: str = "mask",
) -> ConditionMask:
    """A mask for `frames` frames, from a grey image or clip: True where it is brighter than `threshold` (0 to 1).

    One image is the mask of all frames; a clip's length is matched as by `read_condition_clip`. from_alpha: the
    source's alpha is the mask instead (True where it is opaque). Bars of `pad` are False. Arrays may also be
    [height, width] or [frame, height, width], bool too.
    """
    check_count("frames", frames, 1)
    if not 0 <= threshold < 1:
        raise InputError(f"threshold={threshold} must be from 0 to below 1")
    video, label = _open(_as_mask_array(source), frames, name), _label(source, name)
    if from_alpha and video.alpha is None:
        raise InputError(f"{label} has no alpha; give one with transparent parts, or leave from_alpha out")
    values = video.alpha if from_alpha else _brightness(video.frames)
    assert values is not None
    notes: tuple[str, ...] = ()
    if len(values) == 1:
        values = np.repeat(values, frames, axis=0)
    else:
        chosen, notes = _match_length(len(values), frames, short, label)
        values = values[chosen]
    if size is not None:
        values = fit_frames(values[..., None], size, fit, name=label)[..., 0]
    else:
        check_fit(fit)
    return ConditionMask(values > threshold * 255, notes)


def _open(source: Any, frames: int | None, name: str) -> Video:
    """A source as a clip, upright, with its alpha. frames: how many are needed; None: one image."""
    if isinstance(source, Video):
        return source
    if isinstance(source, str | os.PathLike):
        # one more than needed shows whether the file is longer
        return read_still(source) if frames is None else read_video(source, frames=frames + 1)
    if hasattr(source, "getexif") and hasattr(source, "convert"):
        return _from_pil(source)
    if hasattr(source, "detach"):
        return _from_tensor(source, name)
    if isinstance(source, np.ndarray):
        return _from_array(source, name)
    if isinstance(source, Sequence) and len(source) > 0:
        return _join([_open(item, None, f"{name}[{index}]") for index, item in enumerate(source)], name)
    raise InputError(
        f"{name}={type(source).__name__} is not an image or a clip; give a path, a Video, a Pillow image, an array, a "
        "tensor, or a list of images"
    )


def _from_pil(image: Any) -> Video:
    orientation = from_exif(image.getexif().get(_ORIENTATION))
    if image.mode.startswith("I"):
        pixels = scale_to_8_bits(np.asarray(image))
    else:
        transparent = "A" in image.mode or "a" in image.mode or "transparency" in image.info
        pixels = np.asarray(image.convert("RGBA" if transparent and image.mode != "LAB" else "RGB"))
    return _as_video(orientation.apply(pixels)[None])


def _from_tensor(tensor: Any, name: str) -> Video:
    if tensor.ndim not in (3, 4) or tensor.shape[-3] not in (1, 3, 4):
        raise InputError(
            f"{name} is a tensor {list(tensor.shape)}; give [channels, height, width] or [frame, channels, height, "
            "width] with 1, 3 or 4 channels"
        )
    plain = tensor.detach().cpu()
    array = (plain.float() if plain.is_floating_point() else plain).numpy()
    return _from_array(np.moveaxis(array, -3, -1), name)


def _from_array(array: np.ndarray, name: str) -> Video:
    array = array[..., None] if array.ndim == 2 else array
    array = array[None] if array.ndim == 3 else array
    if array.ndim != 4 or array.shape[3] not in (1, 3, 4) or 0 in array.shape:
        raise InputError(
            f"{name} is an array {list(array.shape)}; give [height, width, channels] or [frame, height, width, "
            "channels] with 1, 3 or 4 channels"
        )
    if np.issubdtype(array.dtype, np.floating):
        if not (array.min() >= 0 and array.max() <= 1):
            raise InputError(f"{name} has values from {array.min():g} to {array.max():g}; floats must be from 0 to 1")
        array = (array * 255).round().astype(np.uint8)
    if array.dtype != np.uint8:
        raise InputError(f"{name} is {array.dtype}; give uint8, or float from 0 to 1")
    return _as_video(np.repeat(array, 3, axis=3) if array.shape[3] == 1 else array)


def _as_video(pixels: np.ndarray) -> Video:
    """A clip of RGB or RGBA frames [frame, height, width, 3 or 4]."""
    alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.shape[3] == 4 else None
    return Video(np.ascontiguousarray(pixels[..., :3]), _STILL_FPS, alpha=alpha)


def _join(videos: list[Video], name: str) -> Video:
    """Single images as one clip; InputError where their sizes differ."""
    for index, video in enumerate(videos):
        if video.size != videos[0].size or len(video) != 1:
            raise InputError(
                f"{name}[{index}] is {video.size[0]}x{video.size[1]} and {name}[0] "
                f"{videos[0].size[0]}x{videos[0].size[1]}; all images of a clip need one size"
            )
    alpha = None
    if any(video.alpha is not None for video in videos):
        opaque = np.full(videos[0].frames.shape[:3], 255, np.uint8)
        alpha = np.concatenate([opaque if video.alpha is None else video.alpha for video in videos])
    return Video(np.concatenate([video.frames for video in videos]), _STILL_FPS, alpha=alpha)


def _composite(video: Video, background: tuple[int, int, int]) -> Video:
    """Without alpha: colours over the background, rounded."""
    if video.alpha is None:
        return video
    opacity = video.alpha[..., None].astype(np.uint32)
    mixed = video.frames * opacity + np.asarray(background, np.uint32) * (255 - opacity)
    return Video(((mixed + 127) // 255).astype(np.uint8), video.fps, notes=video.notes)


def _fit(video: Video, size: tuple[int, int] | None, fit: str, background: tuple[int, int, int], label: str) -> Video:
    check_fit(fit)
    frames = video.frames if size is None else fit_frames(video.frames, size, fit, fill=background, name=label)
    return Video(frames, video.fps, notes=video.notes)


def _match_length(count: int, frames: int, short: str, label: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Indices of the frames to use, and notes. InputError where they are too few and short='refuse'."""
    if short not in SHORT:
        raise InputError(f"short={short!r} is unknown; use {' or '.join(SHORT)}")
    problem = f"{label} has {count} frames, the clip {frames}"
    if count < frames and short == "refuse":
        raise InputError(f"{problem}; give a longer one, or short='hold' to hold its last frame")
    chosen = np.minimum(np.arange(frames), count - 1)
    if count < frames:
        return chosen, (f"{problem}: its last frame is held",)
    if count > frames:
        return chosen, (f"{label} has more than the clip's {frames} frames: the rest is not used",)
    return chosen, ()


def _as_mask_array(source: Any) -> Any:
    """A mask array [frame, height, width] with its channel axis, bool as uint8; other sources as they are."""
    if not isinstance(source, np.ndarray):
        return source
    array = source.astype(np.uint8) * 255 if source.dtype == bool else source
    return array[..., None] if array.ndim == 3 and array.shape[2] not in (1, 3, 4) else array


def _brightness(frames: np.ndarray) -> np.ndarray:
    """Luma of BT.601, uint8 [frame, height, width]; exact for grey frames."""
    weights = np.array([299, 587, 114], np.uint32)
    return ((frames.astype(np.uint32) @ weights + 500) // 1000).astype(np.uint8)


def _label(source: Any, name: str) -> str:
    return f"{name}={str(source)!r}" if isinstance(source, str | os.PathLike) else f"the given {name}"
