"""Stand-ins for linked conditions: of a queued node it is known which are linked, and of which kind, but no value.

With a black image or clip of the model's own size in place of each, a request is complete, so that everything else in
it can be checked against the model before the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from videogen.media.audio import Audio
from videogen.media.video import Video

if TYPE_CHECKING:
    from videogen.backbones.resolvable import ResolvableModel

CONDITIONS_NODE = "VideogenRenderConditions"
#: inputs of the node above -> kinds of conditions
_INPUTS = {
    "last_frame": "last_image", "image": "images", "references": "references", "control_video": "control",
    "control_images": "control", "audio": "audio",
}  # fmt: skip
#: kinds whose length the clip takes
_TIMED = ("video", "control")


def build_stand_ins(kinds: Iterable[str], model: ResolvableModel) -> dict[str, Any]:
    """A condition of each kind: `image`, `video`, `mask`. The arrays take no memory."""
    width, height, frames = model.defaults.width, model.defaults.height, model.defaults.frames
    image = np.broadcast_to(np.uint8(0), (height, width, 3))
    clip = np.broadcast_to(np.uint8(0), (frames, height, width, 3))
    found: dict[str, Any] = {
        "image": image, "last_image": image, "references": (image,), "video": Video(clip, model.defaults.fps),
        "mask": np.broadcast_to(np.float32(1), (frames, height, width)),
        "audio": Audio(np.zeros((1, 1), np.float32), 16000),
    }  # fmt: skip
    return {kind: found[kind] for kind in kinds}


def collect_conditions(
    link: Any, model: ResolvableModel, find: Callable[[Any, str], Mapping[str, Any] | None]
) -> dict[str, Any] | None:
    """Stand-ins for what Render Conditions gives, also several of them in a row. None where that is not known.

    find: gives the inputs of the node at a link, if it is of a class.
    """
    inputs = find(link, CONDITIONS_NODE)
    if inputs is None or any(isinstance(inputs.get(name), list) for name in ("frame", "control_name", "fit")):
        return None
    found = collect_conditions(inputs["conditions"], model, find) if "conditions" in inputs else {}
    if found is None:
        return None
    image, clip = (build_stand_ins([kind], model)[kind] for kind in ("image", "video"))
    for kind in (kind for name, kind in _INPUTS.items() if name in inputs):
        if kind == "images":
            found[kind] = {**found.get(kind, {}), inputs.get("frame", 0): image}
        elif kind == "control":
            found[kind] = {**found.get(kind, {}), inputs.get("control_name", "control"): clip}
        else:
            found |= build_stand_ins([kind], model)
    return found


def is_length_open(conditions: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether images are at frames of a clip whose length is that of a linked video."""
    return "images" in conditions and any(kind in conditions for kind in _TIMED) and not values.get("length")
