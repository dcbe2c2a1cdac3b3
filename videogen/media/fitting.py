"""Fitting of frames to a size: refused, cropped or padded where the aspect ratio differs, never stretched."""

from __future__ import annotations

import numpy as np

from videogen.core.errors import InputError, unknown

#: what happens to frames of another aspect ratio: an error; the largest part around the centre is used; all is used,
#: between bars
FITS = ("refuse", "crop", "pad")


def centre_crop(height: int, width: int, target_height: int, target_width: int) -> tuple[slice, slice]:
    """Rows and columns of the largest part around the centre that has the target's aspect ratio."""
    rows = min(height, max(1, round(width * target_height / target_width)))
    columns = min(width, max(1, round(height * target_width / target_height)))
    top, left = (height - rows) // 2, (width - columns) // 2
    return slice(top, top + rows), slice(left, left + columns)


def check_fit(fit: str) -> None:
    """InputError where this is not one of `FITS`."""
    if fit not in FITS:
        raise unknown("fit", str(fit), FITS)


def fit_frames(
    frames: np.ndarray, size: tuple[int, int], fit: str = "refuse", *, fill: tuple[int, ...] = (0,), name: str = "it"
) -> np.ndarray:
    """Frames uint8 [n, height, width, channels] scaled to `size` (width, height), unchanged where they have it.

    Scaling is by Lanczos filtering, as in diffusers' image processor. Frames whose aspect ratio is the target's, to
    within a pixel after scaling, are always accepted. fill: value of the bars of `pad`, per channel; name: of the
    source, for the message. InputError for another aspect ratio where fit is `refuse`.
    """
    check_fit(fit)
    width, height = size
    stored_height, stored_width = frames.shape[1:3]
    if (stored_width, stored_height) == size:
        return frames
    if has_aspect((stored_width, stored_height), size):
        return _resize(frames, height, width)
    if fit == "refuse":
        raise InputError(
            f"{name} is {stored_width}x{stored_height} and the clip {width}x{height}: the aspect ratio differs; use "
            "fit='crop' (its centre) or fit='pad' (all of it, between bars), or give one of that aspect ratio"
        )
    if fit == "crop":
        rows, columns = centre_crop(stored_height, stored_width, height, width)
        return _resize(frames[:, rows, columns], height, width)
    scale = min(height / stored_height, width / stored_width)
    inner = _resize(frames, max(1, round(stored_height * scale)), max(1, round(stored_width * scale)))
    padded = np.empty((len(frames), height, width, frames.shape[3]), np.uint8)
    padded[:] = np.asarray(fill, np.uint8)
    top, left = (height - inner.shape[1]) // 2, (width - inner.shape[2]) // 2
    padded[:, top : top + inner.shape[1], left : left + inner.shape[2]] = inner
    return padded


def has_aspect(size: tuple[int, int], target: tuple[int, int]) -> bool:
    """Whether scaling (width, height) to the target changes the aspect ratio by less than a pixel of the target."""
    (width, height), (target_width, target_height) = size, target
    return (
        abs(width * target_height / height - target_width) < 1
        and abs(height * target_width / width - target_height) < 1
    )


def _resize(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    from PIL import Image

    if frames.shape[1:3] == (height, width):
        return frames
    grey = frames.shape[3] == 1
    images = [Image.fromarray(frame[..., 0] if grey else frame) for frame in frames]
    scaled = np.stack([np.asarray(image.resize((width, height), Image.Resampling.LANCZOS)) for image in images])
    return scaled[..., None] if grey else scaled
