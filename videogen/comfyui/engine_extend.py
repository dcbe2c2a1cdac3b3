"""Extension of a finished clip: the model continues its last frames, clip by clip, until it is long enough.

Three kinds of model can: those whose pipeline continues a video; those trained to continue clean latents, whose prefix
is the encoded end of the clip; and those that take a first frame. The given frames stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from videogen.core.errors import InputError, UnsupportedError
from videogen.media.video import Video
from videogen.request.continuity_policies import takes_first_frame
from videogen.request.request import RenderRequest
from videogen.techniques.fixed_latents import CleanPrefix

if TYPE_CHECKING:
    from videogen.backbones.base import Backbone
    from videogen.sampling.technique import Technique

#: fraction of a clip's latent frames that continue what is there, as of the policy `clean_prefix`
_OVERLAP = 1 / 4

#: renders a request with techniques around it
Renderer = Callable[[RenderRequest, "Sequence[Technique]"], Video]


@dataclass(frozen=True)
class Extension:
    """video: the given frames and the new ones; joins: frames at which clips meet; way: how the model continues."""

    video: Video
    joins: tuple[int, ...]
    way: str
    manifests: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class _Continuation:
    """How the next clip continues. frames: of its beginning that are there already."""

    frames: int
    conditions: dict[str, Any]
    techniques: tuple[Technique, ...] = ()


def extend_clip(
    backbone: Backbone, clip: Video, frames: int, build: Callable[..., RenderRequest], render: Renderer
) -> Extension:
    """The clip with so many more frames. build: a request from its seed and further fields. InputError for no frames,
    UnsupportedError for a model that cannot continue a clip."""
    if frames < 1:
        raise InputError(f"length={frames}: say how many frames are added, at least 1")
    way = choose_way(backbone)
    found = clip.frames
    joins: list[int] = []
    manifests: list[dict[str, Any]] = []
    while len(found) < len(clip) + frames:
        part = _WAYS[way](backbone, found)
        width, height = clip.size
        size = {"width": width, "height": height, "fps": float(clip.fps), "frames": _clip_length(backbone)}
        request = build(len(manifests), conditions=part.conditions or None, continuity="off", **size)
        video = render(request, part.techniques)
        if len(video) <= part.frames:
            raise UnsupportedError(
                f"{backbone.name!r} makes {len(video)} frames, of which {part.frames} are there already; give a length "
                "of clip that it makes at once"
            )
        joins.append(len(found))
        manifests.append(video.manifest or {})
        found = np.concatenate([found, video.frames[part.frames :]])
    made = Video(found[: len(clip) + frames], clip.fps, audio=clip.audio)
    return Extension(made, tuple(joins), way, tuple(manifests))


def choose_way(backbone: Backbone) -> str:
    """A key of `_WAYS`. UnsupportedError for a model that cannot continue a clip."""
    if backbone.continues_video and "video" in backbone.accepts:
        return "its pipeline continues a video"
    if backbone.takes_clean_prefix:
        return "it continues clean latents"
    if takes_first_frame(backbone):
        return "it continues the last frame"
    raise UnsupportedError(
        f"{backbone.name!r} takes neither a video to continue, nor clean latents, nor a first frame, so it cannot "
        "extend a clip; render a longer one from the beginning, with Render or Storyboard"
    )


def _clip_length(backbone: Backbone) -> int:
    return backbone.geometry.frame_map.round_up(backbone.defaults.frames)


def _overlap(backbone: Backbone, frames: np.ndarray) -> int:
    """The last frames that are continued: a quarter of a clip, as far as there are so many."""
    latent_map = backbone.geometry.frame_map
    wanted = max(1, round(_OVERLAP * latent_map.latent_count(_clip_length(backbone))))
    latents = next((n for n in range(wanted, 0, -1) if latent_map.frame_count(n) <= len(frames)), 0)
    if not latents:
        raise InputError(
            f"the clip has {len(frames)} frames, and {backbone.name!r} continues at least {latent_map.frame_count(1)}"
        )
    return latent_map.frame_count(latents)


def _continue_video(backbone: Backbone, frames: np.ndarray) -> _Continuation:
    count = _overlap(backbone, frames)
    return _Continuation(count, {"video": Video(frames[-count:].copy())})


def _continue_latents(backbone: Backbone, frames: np.ndarray) -> _Continuation:
    count = _overlap(backbone, frames)
    _check_size(backbone, frames)
    with torch.inference_mode():
        latents = backbone.encode(torch.from_numpy(frames[-count:].copy()).unsqueeze(0))
    return _Continuation(count, {}, (CleanPrefix(latents),))


def _continue_frame(backbone: Backbone, frames: np.ndarray) -> _Continuation:
    return _Continuation(1, {"image": frames[-1].copy()})


def _check_size(backbone: Backbone, frames: np.ndarray) -> None:
    """InputError for a size that the model cannot make, before it is encoded."""
    height, width = frames.shape[1:3]
    backbone.geometry.check(_clip_length(backbone), height, width, backbone.name)


_WAYS: dict[str, Callable[[Backbone, np.ndarray], _Continuation]] = {
    "its pipeline continues a video": _continue_video,
    "it continues clean latents": _continue_latents,
    "it continues the last frame": _continue_frame,
}
