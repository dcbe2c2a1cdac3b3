"""IMAGE, ComfyUI's images fp32 [frame, height, width, 3 or 4] in 0..1, and frames uint8 [frame, height, width, 3]."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from videogen.core.errors import InputError


def to_frames(images: Any, name: str = "images") -> np.ndarray:
    """Frames of an IMAGE, without alpha. name: of the input, for messages. InputError for another shape, and for NaN:
    ComfyUI checks no linked value."""
    shape = tuple(getattr(images, "shape", ()))
    if len(shape) != 4 or shape[3] not in (3, 4) or 0 in shape:
        raise InputError(f"{name}={list(shape)} must be an IMAGE [frame, height, width, 3] with at least one frame")
    colours = images[..., :3].float()
    if not torch.isfinite(colours).all():
        raise InputError(f"{name} has NaN or infinite values; look at what made it with Preview Image")
    frames: np.ndarray = (colours.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return frames


def to_images(frames: np.ndarray) -> torch.Tensor:
    """IMAGE of frames; its levels are those of the frames, bit for bit, when they are multiplied by 255."""
    return torch.from_numpy(np.ascontiguousarray(frames)).float() / 255
