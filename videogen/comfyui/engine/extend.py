"""Extension of a finished clip: the model continues its last frames, clip by clip, until it is long enough.

Three kinds of model can: those trained to continue clean latents, whose prefix is the end of the clip; those whose
pipeline continues a video; and those that take a first frame. The given frames stay as they are. Latents are joined
before they are decoded, so that with the clip's own latents the new frames follow as in one long render.
Legend: latents [b, c, f, h, w].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from videogen.core.errors import InputError, UnsupportedError
from videogen.media.video import Video
from videogen.request.continuity_policies import takes_first_frame
from videogen.techniques.fixed_latents import CleanPrefix

from .renders import RenderedClip
from .stand_ins import build_stand_ins

if TYPE_CHECKING:
    from videogen.backbones.base import Backbone
    from videogen.backbones.resolvable import ResolvableModel
    from videogen.sampling.technique import Technique

#: fraction of a clip's latent frames that continue what is there, as of the policy `clean_prefix`
_OVERLAP = 1 / 4
VIDEO = "the model's pipeline continues a video"
LATENTS, FRAME = "the model continues clean latents", "the model continues the last frame"

#: renders the clip with this number, of `Extension.count`, from further fields of its request and techniques around it
Renderer = Callable[[int, int, dict[str, Any], "Sequence[Technique]"], RenderedClip]


@dataclass
class Extension:
    """frames: the given and the new ones; joins: frames at which clips meet; way: how the model continues; latents: of
    all frames, where those of the given ones are known; notes: of the clips' renders, what the user should know."""

    way: str
    frames: np.ndarray
    joins: list[int] = field(default_factory=list)
    manifests: list[dict[str, Any]] = field(default_factory=list)
    latents: torch.Tensor | None = None
    notes: list[str] = field(default_factory=list)


def extend_clip(
    backbone: Backbone, clip: Video, frames: int, render: Renderer, latents: torch.Tensor | None = None
) -> Extension:
    """The clip with so many more frames. latents: of the clip, where they are known. InputError for no frames and for
    other latents, UnsupportedError for a model that cannot continue a clip."""
    if frames < 1:
        raise InputError(f"length={frames}: say how many frames are added, at least 1")
    found = Extension(choose_way(backbone), clip.frames)
    if latents is not None:
        _check_latents(backbone, clip, latents)
    if found.way == LATENTS:
        _extend_latents(backbone, found, frames, _clip_fields(backbone, clip), render, latents)
    else:
        _extend_frames(backbone, found, frames, _clip_fields(backbone, clip), render)
    return found


def extension_fields(model: ResolvableModel) -> dict[str, Any]:
    """Fields of a clip that extends another one, which has the model's own size. UnsupportedError for a model that
    cannot continue a clip."""
    way, length = choose_way(model), _clip_length(model)
    kinds = {VIDEO: ["video"], FRAME: ["image"], LATENTS: []}[way]
    conditions = build_stand_ins(kinds, model)
    if way == VIDEO:
        conditions["video"] = conditions["video"][: _overlap(model, conditions["video"].frames)]
    return {"frames": length, **({"conditions": conditions} if conditions else {})}


def choose_way(backbone: ResolvableModel) -> str:
    """`VIDEO`, `LATENTS` or `FRAME`. UnsupportedError for a model that cannot continue a clip."""
    if backbone.continues_video and "video" in backbone.accepts:
        return VIDEO
    if backbone.takes_clean_prefix:
        return LATENTS
    if takes_first_frame(backbone):
        return FRAME
    raise UnsupportedError(
        f"{backbone.name!r} takes neither a video to continue, nor clean latents, nor a first frame, so it cannot "
        "extend a clip; render a longer one from the beginning, with Render or Storyboard"
    )


def _extend_latents(
    backbone: Backbone, found: Extension, frames: int, fields: dict[str, Any], render: Renderer,
    latents: torch.Tensor | None,
) -> None:  # fmt: skip
    """In latents: each clip begins with the last ones, and all are decoded as one stream."""
    latent_map, given = backbone.geometry.frame_map, len(found.frames)
    count = latent_map.latent_count(_overlap(backbone, found.frames))
    joined = _encode(backbone, found.frames[-latent_map.frame_count(count) :]) if latents is None else latents
    known = latent_map.frame_count(count) if latents is None else given
    needed = latent_map.latent_count(latent_map.round_up(known + frames))
    clips = _count_clips(needed - joined.shape[2], _clip_latents(backbone) - count)
    decoder = backbone.stream_decoder()
    decoded = [_decode(decoder.push, joined)]
    while latent_map.frame_count(joined.shape[2]) < known + frames:
        clip = render(len(found.manifests), clips, fields, (CleanPrefix(joined[:, :, -count:]),))
        assert clip.final is not None
        new = clip.final[:, :, count:].to(joined)
        _note_clip(found, clip, given - known + latent_map.frame_count(joined.shape[2]))
        joined = torch.cat([joined, new], 2)
        decoded.append(_decode(decoder.push, new))
    decoded.append(_decode(decoder.finish))
    found.frames = np.concatenate([found.frames, np.concatenate(decoded)[known : known + frames]])
    found.latents = None if latents is None else joined


def _extend_frames(backbone: Backbone, found: Extension, frames: int, fields: dict[str, Any], render: Renderer) -> None:
    """In frames: each clip begins with the last ones, which are then left out."""
    length, first = len(found.frames) + frames, 1 if found.way == FRAME else _overlap(backbone, found.frames)
    clips = _count_clips(frames, _clip_length(backbone) - first)
    while len(found.frames) < length:
        count = _overlap(backbone, found.frames) if found.way == VIDEO else 1
        tail = found.frames[-count:].copy()
        conditions = {"video": Video(tail, fields["fps"])} if found.way == VIDEO else {"image": tail[0]}
        clip = render(len(found.manifests), clips, {**fields, "conditions": conditions}, ())
        if len(clip.video) <= count:
            raise UnsupportedError(
                f"{backbone.name!r} made {len(clip.video)} frames, of which {count} were there already; extend the "
                "clip with a model that makes more at once"
            )
        _note_clip(found, clip, len(found.frames))
        found.frames = np.concatenate([found.frames, clip.video.frames[count:]])
    found.frames = found.frames[:length]


def _note_clip(found: Extension, clip: RenderedClip, join: int) -> None:
    found.joins.append(join)
    found.manifests.append(clip.video.manifest or {})
    found.notes += clip.notes


def _count_clips(needed: int, new: int) -> int:
    """How many clips are needed for so many frames or latents, with this number of new ones in each."""
    return max(1, -(-needed // max(1, new)))


def _clip_latents(backbone: Backbone) -> int:
    return backbone.geometry.frame_map.latent_count(_clip_length(backbone))


def _clip_fields(backbone: Backbone, clip: Video) -> dict[str, Any]:
    """Fields of the requests that follow from the clip. InputError for a size that the model cannot make."""
    width, height = clip.size
    length = _clip_length(backbone)
    backbone.geometry.check(length, height, width, backbone.name)
    return {"width": width, "height": height, "fps": float(clip.fps), "frames": length}


def _clip_length(backbone: ResolvableModel) -> int:
    return backbone.geometry.frame_map.round_up(backbone.defaults.frames)


def _overlap(backbone: ResolvableModel, frames: np.ndarray) -> int:
    """The last frames that are continued: a quarter of a clip, as far as there are so many."""
    latent_map = backbone.geometry.frame_map
    wanted = max(1, round(_OVERLAP * latent_map.latent_count(_clip_length(backbone))))
    latents = next((n for n in range(wanted, 0, -1) if latent_map.frame_count(n) <= len(frames)), 0)
    if not latents:
        raise InputError(
            f"the clip has {len(frames)} frames, and {backbone.name!r} continues at least {latent_map.frame_count(1)}"
        )
    return latent_map.frame_count(latents)


def _check_latents(backbone: Backbone, clip: Video, latents: torch.Tensor) -> None:
    """InputError for latents that are not those of the clip."""
    geometry = backbone.geometry
    width, height = clip.size
    sides = [geometry.channels, height // geometry.spatial, width // geometry.spatial]
    length = geometry.frame_map.frame_count(latents.shape[2])
    if [latents.shape[1], *latents.shape[3:]] != sides or not 0 <= length - len(clip) < geometry.temporal:
        raise InputError(
            f"latent {list(latents.shape)} is not of the clip, which has {len(clip)} frames of {width}x{height}; "
            "connect the latent of the node that made the clip, or none"
        )


def _encode(backbone: Backbone, frames: np.ndarray) -> torch.Tensor:
    with torch.inference_mode():
        return backbone.encode(torch.from_numpy(frames.copy()).unsqueeze(0))


def _decode(push: Callable[..., torch.Tensor], *latents: torch.Tensor) -> np.ndarray:
    """Frames uint8 [n, h, w, 3], those that are final."""
    with torch.inference_mode():
        pixels = push(*latents)[0]
    frames: np.ndarray = (pixels * 255).round().to(torch.uint8).cpu().numpy()
    return frames
