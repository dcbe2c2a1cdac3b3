"""Previews at nodes: clips as animated images."""

from __future__ import annotations

from typing import Any

import torch

_PREFIX = "videogen_preview"
_FPS = 16.0


def show_clip(frames: torch.Tensor, fps: float = _FPS) -> Any:
    """ComfyUI's output that shows frames [frame, height, width, 3] at the node, as a file of its temporary folder."""
    from comfy_api.latest import io, ui

    file = ui.ImageSaveHelper.save_animated_webp(
        frames, filename_prefix=_PREFIX, folder_type=io.FolderType.temp, cls=None, fps=fps, lossless=False, quality=90,
        method=2,
    )  # fmt: skip
    return ui.SavedImages([file], is_animated=len(frames) > 1)
