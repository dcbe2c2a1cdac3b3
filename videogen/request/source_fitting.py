"""Size, length and rate of a clip that is made from images or a video: what the request leaves open is the source's.

Files are only probed here, not read, so that whatever does not fit is refused before a model is loaded. No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from videogen.core.errors import InputError
from videogen.core.rates import exact_fps

if TYPE_CHECKING:
    from videogen.backbones.geometry import ClipLimits
    from videogen.backbones.resolvable import ResolvableModel
    from videogen.media.source_info import SourceInfo

    from .conditions import Conditions
    from .request import RenderRequest

_CLIPS = ("video", "mask", "control")
#: kinds whose shape and length a clip takes, the first that is given
_SIZED_BY = ("image", "video", "images", "last_image", "control")
_TIMED_BY = ("video", "control")
_MOST_ELONGATED = 8  # times: a clip of the model's default area would have sides far from those it was trained with


@dataclass(frozen=True)
class ClipSources:
    """A clip's fields that the request leaves open, as its sources have them; None where they do not say either.

    found: (kind, name, frame) -> probed source.
    """

    found: Mapping[tuple[str, str, int], SourceInfo]
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    fps: float | None = None
    notes: tuple[str, ...] = ()


def probe_conditions(conditions: Conditions) -> dict[tuple[str, str, int], SourceInfo]:
    """Each image and clip, references included. MediaError or InputError for one that cannot be read."""
    found: dict[tuple[str, str, int], SourceInfo] = {}
    if not conditions.keys():
        return found
    from videogen.media.source_info import probe_source

    for number, (kind, name, frame, value) in enumerate(conditions.items()):
        if kind != "audio":
            info = probe_source(value, label_of(kind, name, frame))
            found[kind, name, number if kind == "references" else frame] = info
    return found


def label_of(kind: str, name: str, frame: int) -> str:
    """A condition as a message names it: `image`, `images[24]`, `control['depth']`."""
    if kind == "control":
        return f"control[{name!r}]"
    return f"images[{frame}]" if kind == "images" else kind


def fit_to_sources(request: RenderRequest, backbone: ResolvableModel) -> ClipSources:
    """What the sources of a request say about its clip, with a note for each field that they set."""
    found = probe_conditions(request.given)
    usable = {key: info for key, info in found.items() if not backbone.keeps_size(key[0], key[1])}
    width, height, size_notes = _fit_size(request, backbone, usable)
    frames, fps, time_notes = _fit_time(request, backbone, found)
    return ClipSources(found, width, height, frames, fps, (*size_notes, *time_notes))


def _first(
    found: Mapping[tuple[str, str, int], SourceInfo], kinds: tuple[str, ...]
) -> tuple[str, SourceInfo] | tuple[None, None]:
    """(label, source) of the first of these kinds."""
    for kind in kinds:
        for key in sorted(key for key in found if key[0] == kind):
            return label_of(*key), found[key]
    return None, None


def _fit_size(
    request: RenderRequest, backbone: ResolvableModel, found: Mapping[tuple[str, str, int], SourceInfo]
) -> tuple[int | None, int | None, list[str]]:
    """The source's aspect ratio at the model's default area, or less where it has no positions for that, in multiples
    that fit. InputError for a source that is far from square."""
    label, source = _first(found, _SIZED_BY)
    if source is None or not backbone.takes_any_size or (request.width and request.height):
        return None, None, []
    default, multiple = backbone.defaults, backbone.geometry.multiple
    ratio = source.width / source.height
    if not 1 / _MOST_ELONGATED <= ratio <= _MOST_ELONGATED:
        raise InputError(
            f"{label} is {source.width}x{source.height}: one side is more than {_MOST_ELONGATED} times the other; crop "
            "it, or set width and height"
        )
    if request.height:
        area: float = round(request.height**2 * ratio)
    elif request.width:
        area = round(request.width**2 / ratio)
    else:
        area = min(default.width * default.height, *_most_areas(ratio, backbone.limits))
    width = request.width or _round((area * ratio) ** 0.5, multiple)
    height = request.height or _round((area / ratio) ** 0.5, multiple)
    if not (request.width or request.height) and (width, height) == (default.width, default.height):
        return width, height, []
    note = f"size={width}x{height} follows {label}, which is {source.width}x{source.height}"
    return width, height, [note]


def _most_areas(ratio: float, limits: ClipLimits) -> Iterator[float]:
    """Largest areas of this aspect ratio (width / height) for which a model has positions, one per limited side."""
    yield math.inf
    if limits.width is not None:
        yield limits.width**2 / ratio
    if limits.height is not None:
        yield limits.height**2 * ratio


def _round(value: float, multiple: int) -> int:
    return max(1, round(value / multiple)) * multiple


def _fit_time(
    request: RenderRequest, backbone: ResolvableModel, found: Mapping[tuple[str, str, int], SourceInfo]
) -> tuple[int | None, float | None, list[str]]:
    """The length and rate of a source video: as much of it as the model generates at once and fills its latents."""
    label, source = _first(found, _TIMED_BY)
    if source is None or source.frames < 2:
        return None, None, []
    fps, notes = None, []
    if source.fps is not None and request.fps is None and source.fps != backbone.defaults.fps:
        fps = float(source.fps)
        notes.append(f"fps={fps:g} follows {label}")
    continued = label == "video" and backbone.continues_video
    if continued or request.frames or request.seconds or request.story is not None:
        return None, fps, notes
    most = min(source.frames, request.window or backbone.single_pass_frames)
    frame_map = backbone.geometry.frame_map
    frames = max((count for count in frame_map.nearest_counts(most) if count <= most), default=None)
    if frames is None:
        return None, fps, notes
    if frames != source.frames:
        notes.append(
            f"frames={frames}: of the {source.frames} frames of {label} the first {frames} are used, the most that "
            f"{backbone.name!r} generates at once and that fill its latents; set frames for another length"
        )
    return frames, fps, notes


def fitting_notes(
    conditions: Conditions,
    sources: ClipSources,
    backbone: ResolvableModel,
    size: tuple[int, int],
    frames: int,
    fps: Fraction,
) -> Iterator[str]:
    """What is cut off, added or left out so that each source has the clip's size (width, height) and length.

    InputError where a source has another aspect ratio and `fit` is `refuse`.
    """
    from videogen.media.fitting import has_aspect

    for (kind, name, frame), info in sources.found.items():
        label = label_of(kind, name, frame)
        if kind == "video" and info.has_audio and not retains_audio(info, fps, backbone):
            yield f"the sound of {label} is not retained: {_why_silent(info, fps)}"
        if not backbone.keeps_size(kind, name) and not has_aspect(info.size, size):
            yield _describe_fit(label, info, size, conditions.fit)
        if kind not in _CLIPS or info.frames == frames or (kind == "mask" and info.frames == 1):
            continue
        if kind == "video" and backbone.continues_video and info.frames < frames:
            continue
        if info.frames < frames:
            yield f"{label} has {info.frames} frames, the clip {frames}: its last frame is held"
        elif sources.frames is None:
            yield f"{label} has {info.frames} frames, the clip {frames}: the rest is not used"


def retains_audio(info: SourceInfo, fps: Fraction, backbone: ResolvableModel) -> bool:
    """Whether a clip of this rate has the sound of its source video: its frames are shown at the same times."""
    return not backbone.continues_video and info.fps is not None and exact_fps(info.fps) == fps


def _why_silent(info: SourceInfo, fps: Fraction) -> str:
    if info.fps is not None and exact_fps(info.fps) != fps:
        return f"it has {float(info.fps):g} frames per second and the clip {float(fps):g}"
    return "the clip continues it"


def _describe_fit(label: str, info: SourceInfo, size: tuple[int, int], fit: str) -> str:
    shapes = f"{label} is {info.width}x{info.height}, the clip {size[0]}x{size[1]}"
    if fit == "refuse":
        raise InputError(
            f"{shapes}, and fit='refuse'; use fit='crop' (its centre) or fit='pad' (all of it, between bars), or set "
            "width and height to its aspect ratio"
        )
    return f"{shapes}: {'it is cropped around its centre' if fit == 'crop' else 'it is padded with black bars'}"
