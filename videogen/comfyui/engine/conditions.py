"""Conditions of a render from ComfyUI's images, videos, masks and sound: the fields of `request.conditions.Conditions`.

They are plain dicts, so that nodes add to what they are given without changing it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from videogen.core.errors import InputError
from videogen.media.video import Video
from videogen.motion import Motion
from videogen.request.conditions import digest_of

from ..images import to_frames
from .media import to_mask

if TYPE_CHECKING:
    from videogen.backbones.resolvable import ResolvableModel

#: `strength` of a node: the pipeline's own
UNSET_STRENGTH = 0.0


def single_image(images: torch.Tensor, name: str) -> Any:
    """The one image of an IMAGE, [height, width, 3]. InputError for several."""
    frames = to_frames(images, name)
    if len(frames) != 1:
        raise InputError(f"{name} has {len(frames)} images; give one, such as by ImageFromBatch")
    return frames[0]


def read_references(images: torch.Tensor) -> tuple[Any, ...]:
    """Each image of an IMAGE, [height, width, 3]."""
    return tuple(to_frames(images, "references"))


def add_condition(conditions: dict[Any, Any], name: str | int, value: Any) -> dict[Any, Any]:
    """The conditions with one more. InputError where it is there already."""
    if name in conditions:
        raise InputError(f"{name} is given twice; disconnect one of them")
    return {**conditions, name: value}


def with_first_frame(
    conditions: dict[str, Any], first_frame: torch.Tensor | None, model: ResolvableModel, motion: Motion | None
) -> dict[str, Any]:
    """Fields of a request: `conditions` with the first frame, or, where a motion moves the first frame of a model that
    takes none, `first_frame` as a file."""
    if first_frame is None:
        return {"conditions": conditions or None}
    image = single_image(first_frame, "first_frame")
    if motion is not None and "image" not in model.accepts:
        return {"conditions": conditions or None, "first_frame": _write_image(image)}
    return {"conditions": add_condition(conditions, "image", image)}


def video_conditions(video: Video, mask: torch.Tensor | None, strength: float) -> dict[str, Any]:
    """Those of an edit: the video, where it is generated, and how much of it is replaced."""
    found: dict[str, Any] = {"video": video}
    if mask is not None:
        found["mask"] = to_mask(mask, len(video), video.size)
    if strength != UNSET_STRENGTH:
        found["strength"] = strength
    return found


def _write_image(image: Any) -> str:
    """A PNG in ComfyUI's folder of temporary files, named by its content."""
    import folder_paths

    path = Path(folder_paths.get_temp_directory()) / f"videogen_{digest_of(image)}.png"
    if not path.exists():
        from videogen.core.files import atomic_path
        from videogen.media.still import save_image

        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path, overwrite=True) as partial:
            save_image(partial, image)
    return str(path)
