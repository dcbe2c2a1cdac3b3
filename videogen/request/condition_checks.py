"""Checks of a request's conditions against what a model takes, before anything is loaded. No torch here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from videogen.backbones.hosting.pipelines import NOT_TAKEN, PIPELINES
from videogen.core.errors import InputError, UnsupportedError, unknown

from .image_chain import takes_keyframes

if TYPE_CHECKING:
    from videogen.backbones.resolvable import ResolvableModel
    from videogen.media.source_info import SourceInfo

    from .conditions import Conditions

_NAMED = 3  # models that a message names


def check_conditions(conditions: Conditions, backbone: ResolvableModel) -> None:
    """UnsupportedError for a condition that the model does not take, InputError for one that it needs and that is not
    given, and for a control with an unknown name."""
    given = conditions.keys()
    for key in given:
        if not (_takes(backbone, key) or (key == "images" and takes_keyframes(backbone))):
            raise _refusal(backbone, key, given)
    _check_controls(conditions, backbone)
    _check_strength(conditions, backbone)
    if takes_keyframes(backbone) and "images" in given:
        given = (*given, "image")  # `image_chain.check_chain` checks that one stands at the first frame
    for need in backbone.needs:
        alternatives = need.split("|")
        if not any(_is_met(one, given) for one in alternatives):
            options = " or ".join(f"--{_as_option(one)}" for one in alternatives)
            names = " or ".join(_describe(one) for one in alternatives)
            raise InputError(f"{backbone.name!r} needs {names}; give it with {options}")


def _check_controls(conditions: Conditions, backbone: ResolvableModel) -> None:
    """InputError for several control videos of names of one's own: the model has one input for them."""
    named = [name for name in conditions.control if f"control:{name}" not in backbone.accepts]
    if len(named) > 1:
        raise InputError(
            f"control has {len(named)} videos ({', '.join(named)}), and {backbone.name!r} takes one, of any name; give "
            "one of them"
        )


def _check_strength(conditions: Conditions, backbone: ResolvableModel) -> None:
    """UnsupportedError for a strength where the model takes none, InputError where there is nothing that it is of."""
    strength = conditions.strength
    if strength is None:
        return
    if "strength" not in backbone.option_names:
        raise UnsupportedError(f"strength={strength:g} is given, but {backbone.name!r} takes none; leave it out")
    if not conditions.keys():
        takes = ", ".join(_describe(one) for one in backbone.accepts)
        raise InputError(
            f"strength={strength:g} says how much of a given image or video counts, and none is given; give one "
            f"({takes}), or leave it out"
        )


def check_places(conditions: Conditions, frames: int) -> None:
    """InputError for an image at a frame that a clip of so many frames does not have."""
    for frame in conditions.images:
        if not -frames <= frame < frames:
            nearest = 0 if frame < 0 else frames - 1
            raise InputError(
                f"images has frame {frame}, but the clip has {frames} frames; use 0 to {frames - 1} (nearest: "
                f"{nearest}), or -1 for the last"
            )


def check_frames_given_once(conditions: Conditions, frames: int, continued: int) -> None:
    """InputError where two conditions stand at one frame of a clip of so many frames. continued: how many frames at its
    beginning are those of `video`."""
    taken = {frame: "video" for frame in range(continued)}
    for kind, _, frame, _ in conditions.items():
        if kind not in ("image", "last_image", "images"):
            continue
        name = f"images[{frame}]" if kind == "images" else kind
        place = frame % frames
        if place in taken:
            raise InputError(f"{taken[place]} and {name} both give frame {place} of the clip; leave one of them out")
        taken[place] = name


def check_masks(video: SourceInfo | None, mask: SourceInfo | None) -> None:
    """InputError where a mask has another size or length than the video that it masks."""
    if video is None or mask is None:
        return
    if mask.size != video.size:
        raise InputError(
            f"mask is {mask.width}x{mask.height} and video {video.width}x{video.height}; give a mask of the video's "
            "size"
        )
    if mask.frames not in (1, video.frames):
        raise InputError(
            f"mask has {mask.frames} frames and video {video.frames}; give one image, or {video.frames} frames"
        )


def _refusal(backbone: ResolvableModel, key: str, given: tuple[str, ...]) -> InputError | UnsupportedError:
    kind, _, name = key.partition(":")
    controls = [one.partition(":")[2] for one in backbone.accepts if one.startswith("control:")]
    if kind == "control" and controls:
        return unknown("control", name, controls)
    takes = ", ".join(_describe(one) for one in backbone.accepts) or "a prompt alone"
    others = _models_that_take(key, backbone.family)
    hint = f"; {kind} is taken by {others}" if others else ""
    refusal = backbone.refusal("keyframes", given) if kind == "images" else None
    if refusal is not None:
        hint = f"; as first and last frames of several clips: {refusal.reason}{hint}"
    if kind in NOT_TAKEN:
        hint = f": {NOT_TAKEN[kind]}"
    return UnsupportedError(f"{kind} is given, but {backbone.name!r} takes {takes}{hint}")


def _models_that_take(key: str, family: str) -> str:
    """Some pipelines of the table, those of the same family first."""
    kind = key.partition(":")[0]
    rows = [row for row in PIPELINES.values() if any(one.partition(":")[0] == kind for one in row.inputs)]
    rows.sort(key=lambda row: row.lineage != family)
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return ", ".join(f"{row.name} ({row.description})" for row in rows[:_NAMED]) + more


def _takes(backbone: ResolvableModel, key: str) -> bool:
    kind, _, name = key.partition(":")
    return key in backbone.accepts or (bool(name) and f"{kind}:" in backbone.accepts)


def _is_met(need: str, given: Iterable[str]) -> bool:
    return need in given or (need.endswith(":") and any(key.startswith(need) for key in given))


def _describe(key: str) -> str:
    kind, _, name = key.partition(":")
    return f"{kind} {name}" if name else (f"{kind} (any name)" if key.endswith(":") else kind)


def _as_option(key: str) -> str:
    """The command line's option of a condition."""
    kind, _, name = key.partition(":")
    if kind == "control":
        return f"control {name or 'NAME'}=FILE"
    if kind == "images":
        return "images FRAME=FILE"
    return f"{'reference' if kind == 'references' else kind.replace('_', '-')} FILE"
