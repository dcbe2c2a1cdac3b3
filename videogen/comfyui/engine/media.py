"""Clips, images, masks and sound between ComfyUI's types and the engine's.

IMAGE: fp32 [frame, height, width, 3 or 4] in 0..1; MASK: fp32 [frame, height, width]; AUDIO: `waveform` [batch,
channel, sample] and `sample_rate`; VIDEO: an object with `get_components()`. The engine's frames are uint8 [frame,
height, width, 3].
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from videogen.core.errors import InputError
from videogen.media.audio import Audio
from videogen.media.video import Video

from ..images import to_frames


def read_video(video: Any, name: str = "video") -> Video:
    """The clip of a VIDEO, with its sound."""
    parts = video.get_components()
    audio = to_sound(parts.audio) if getattr(parts, "audio", None) is not None else None
    return Video(to_frames(parts.images, name), Fraction(parts.frame_rate), audio=audio)


def read_clip(video: Any, images: torch.Tensor | None, fps: float) -> Video:
    """The clip of a VIDEO or of an IMAGE at a rate. InputError for both, for none, and for a rate that is not valid."""
    if (video is None) == (images is None):
        given = "both are connected" if video is not None else "nothing is connected"
        raise InputError(f"video or images: {given}; connect one of them")
    if video is not None:
        return read_video(video)
    assert images is not None
    return Video(to_frames(images), Fraction(fps).limit_denominator(1001) if 0 < fps < math.inf else fps)


def to_mask(mask: torch.Tensor, frames: int, size: tuple[int, int]) -> np.ndarray:
    """A MASK as the engine reads it: fp32 [frame, height, width] of the clip's size (width, height), 1 where the clip
    is generated. One image is the mask of all frames. InputError for another size or length, and for NaN."""
    values = mask.float().cpu()
    values = values.unsqueeze(0) if values.ndim == 2 else values
    width, height = size
    if values.ndim != 3 or tuple(values.shape[1:]) != (height, width) or len(values) not in (1, frames):
        raise InputError(
            f"mask has shape {list(mask.shape)}, and the video is {frames} frames of {width}x{height}; give a mask of "
            "that size, one image or one per frame"
        )
    if not torch.isfinite(values).all():
        raise InputError("mask has NaN or Inf; look at the node that makes it")
    return values.clamp(0, 1).numpy()


def to_sound(audio: dict[str, Any]) -> Audio:
    """The first clip of an AUDIO."""
    waveform = audio["waveform"]
    return Audio(np.ascontiguousarray(waveform[0].float().cpu().numpy()), int(audio["sample_rate"]))


def to_comfy_audio(audio: Audio | None) -> dict[str, Any] | None:
    """AUDIO; None where there is no sound."""
    if audio is None:
        return None
    return {"waveform": torch.from_numpy(audio.samples.copy()).unsqueeze(0), "sample_rate": int(audio.rate)}


def to_comfy_video(video: Video, images: torch.Tensor) -> Any:
    """VIDEO of a clip whose frames are already IMAGE."""
    from comfy_api.latest import InputImpl, Types

    parts = Types.VideoComponents(images=images, frame_rate=Fraction(video.fps), audio=to_comfy_audio(video.audio))
    return InputImpl.VideoFromComponents(parts)
