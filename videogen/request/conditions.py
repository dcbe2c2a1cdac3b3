"""Conditions of a request: what a video is made from besides its prompt. No torch here.

A file is stored by its absolute name and the digest of its content; an object in memory (a PIL image, an array, a
`Video`) by its digest alone, so that a manifest says what was used, and a repeat has to be given it again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from os import PathLike
from typing import Any

from videogen.core.errors import InputError, unknown
from videogen.core.files import absolute_name

#: how a condition of another shape than the clip becomes the clip's: never stretched
FITS = ("crop", "pad", "refuse")
_LISTS, _MAPS = ("references",), ("images", "control")


@dataclass(frozen=True)
class Conditions:
    """Values are files, PIL images, arrays [height, width, 3] or [frame, height, width, 3], or `Video`s.

    image, last_image: first and last frame; images: frame number -> image; video: to start from or to edit; mask: white
    where the video is generated; control: name -> control video; references: images of what appears; audio: a file;
    strength: from just above 0 (hardly changed) to 1 (only its outline counts). fit: `crop`, `pad` or `refuse` what has
    another shape than the clip.
    """

    image: Any = None
    last_image: Any = None
    images: Mapping[int, Any] = field(default_factory=dict)
    video: Any = None
    mask: Any = None
    control: Mapping[str, Any] = field(default_factory=dict)
    references: tuple[Any, ...] = ()
    audio: Any = None
    strength: float | None = None
    fit: str = "crop"

    def __post_init__(self) -> None:
        """InputError for what is wrong for every model; names of files become absolute."""
        if self.fit not in FITS:
            raise unknown("fit", str(self.fit), FITS)
        for name in _MAPS:
            if not isinstance(getattr(self, name), Mapping):
                raise InputError(f"{name}={getattr(self, name)!r} must be a dict, such as {_EXAMPLES[name]}")
        if self.strength is not None and (
            isinstance(self.strength, bool) or not isinstance(self.strength, int | float)
        ):
            raise InputError(f"strength={self.strength!r} must be a number from 0 to 1")
        if self.strength is not None and not 0 <= self.strength <= 1:
            raise InputError(f"strength={self.strength} must be from 0 (hardly changed) to 1 (only its outline counts)")
        if not isinstance(self.references, list | tuple):
            raise InputError(f"references={self.references!r} must be a list of images")
        for frame in self.images:
            if isinstance(frame, bool) or not isinstance(frame, int):
                raise InputError(f"images has the key {frame!r}; keys are frame numbers, such as {_EXAMPLES['images']}")
        # a pipeline may depend on the order, which manifests do not keep: those counted from the end come last
        in_order = sorted(self.images.items(), key=lambda entry: (entry[0] < 0, entry[0]))
        object.__setattr__(self, "images", dict(in_order))
        for name in ("image", "last_image"):
            value = getattr(self, name)
            if isinstance(value, list | tuple):
                raise InputError(
                    f"{name} is a list of {len(value)}, and a call takes one for all of its prompts and seeds; call "
                    "generate once for each image, or give images={frame: image} for several in one clip"
                )
        object.__setattr__(self, "control", _with_text_names(self.control))
        for one in fields(self):
            object.__setattr__(self, one.name, _with_absolute_files(one.name, getattr(self, one.name)))
        if self.last_image is not None and self.image is None:
            raise InputError("last_image is given without image; give the first frame too")
        if self.mask is not None and self.video is None:
            raise InputError("mask is given without video; give the video that it masks")

    def items(self) -> Iterator[tuple[str, str, int, Any]]:
        """(kind, name, frame, value) of each condition."""
        for kind in ("image", "last_image", "video", "mask", "audio"):
            if getattr(self, kind) is not None:
                yield kind, "", -1 if kind == "last_image" else 0, getattr(self, kind)
        for frame, value in self.images.items():
            yield "images", "", frame, value
        for name, value in self.control.items():
            yield "control", name, 0, value
        for value in self.references:
            yield "references", "", 0, value

    def keys(self) -> tuple[str, ...]:
        """Which conditions are given, each once: `image`, `control:depth`."""
        return tuple(dict.fromkeys(f"{kind}:{name}" if name else kind for kind, name, _, _ in self.items()))

    @classmethod
    def from_value(cls, value: Any) -> Conditions:
        """From itself or a dict of its fields, also of a manifest. InputError for an unknown field."""
        if isinstance(value, Conditions):
            return value
        if not isinstance(value, Mapping):
            raise InputError(f"conditions={value!r} must be a dict such as {{'image': 'first.png'}}")
        known = [one.name for one in fields(cls)]
        for name in value:
            if name not in known:
                raise unknown("condition", str(name), known)
        given = {name: _from_stored(one) for name, one in value.items()}
        if "images" in given:
            given["images"] = _with_frame_numbers(given["images"])
        if isinstance(given.get("references"), list):
            given["references"] = tuple(given["references"])
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: fields that are set; files as they are named, objects as {'digest': ...}."""
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: _to_stored(value) for name, value in found.items() if not _is_unset(name, value)}


_INTEGER = re.compile(r"-?\d+")
_EXAMPLES = {"images": "{0: 'first.png', 24: 'middle.png'}", "control": "{'depth': 'depth.mp4'}"}


def _with_frame_numbers(images: Any) -> Any:
    """A mapping from frames with whole numbers as text, as files store them, to numbers; others as they are."""
    if not isinstance(images, Mapping):
        return images
    return {int(key) if _INTEGER.fullmatch(str(key)) else key: one for key, one in images.items()}


def _is_unset(name: str, value: Any) -> bool:
    return value is None or (name == "fit" and value == "crop") or (isinstance(value, dict | tuple) and not value)


def _with_absolute_files(name: str, value: Any) -> Any:
    """A condition with the names of its files absolute. InputError for what names no file: an empty text, or bytes."""
    if isinstance(value, Mapping):
        return {key: _with_absolute_files(f"{name}[{key!r}]", one) for key, one in value.items()}
    if name in _LISTS:
        return tuple(_with_absolute_files(f"{name}[{index}]", one) for index, one in enumerate(value))
    if isinstance(value, bytes | bytearray | memoryview):
        raise InputError(
            f"{name} is {type(value).__name__}; give a path, or an image that Pillow has opened: "
            "Image.open(io.BytesIO(...))"
        )
    if name != "fit" and isinstance(value, str | PathLike):
        return absolute_name(name, value)
    return value


def _with_text_names(controls: Mapping[Any, Any]) -> dict[str, Any]:
    """Controls by name, whole numbers as text. InputError for one without a name, or with a name of another kind."""
    for name in controls:
        if isinstance(name, bool) or not isinstance(name, str | int) or not str(name).strip():
            raise InputError(f"control has the key {name!r}; keys are names, such as {_EXAMPLES['control']}")
    return {str(name): value for name, value in controls.items()}


def _to_stored(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _to_stored(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return [_to_stored(one) for one in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return {"digest": digest_of(value)}


def _from_stored(value: Any) -> Any:
    if isinstance(value, Mapping) and set(value) == {"digest"}:
        raise InputError(
            "a condition of this video was an object in memory, which its manifest does not hold; give it again, such "
            "as image=... or --image FILE"
        )
    if isinstance(value, Mapping):
        return {key: _from_stored(one) for key, one in value.items()}
    return [_from_stored(one) for one in value] if isinstance(value, list) else value


def digest_of(value: Any) -> str:
    """A digest of an image, array, video or audio in memory."""
    import numpy as np

    frames = getattr(value, "frames", getattr(value, "samples", value))
    pixels = frames if isinstance(frames, list | tuple) else [frames]
    state = hashlib.sha256()
    for one in pixels:
        array = np.ascontiguousarray(np.asarray(one))
        state.update(f"{array.dtype}{array.shape}".encode())
        state.update(array.tobytes())
    return state.hexdigest()[:32]
