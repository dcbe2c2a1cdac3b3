"""Reading of a request's conditions: from files or objects to images and clips of the request's size and length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videogen.backbones.base import Backbone
from videogen.backbones.given import Given
from videogen.core.files import sha256
from videogen.core.logs import log_note
from videogen.media.audio import read_audio
from videogen.media.conditions import read_condition_clip, read_condition_image, read_condition_mask
from videogen.media.file_notes import SOUND
from videogen.media.source_info import probe_source
from videogen.request.conditions import digest_of
from videogen.request.resolved import ResolvedRequest
from videogen.request.source_fitting import label_of


@dataclass(frozen=True)
class ReadConditions:
    """given: as the backbone takes them; records: of each for the manifest: its file and sha256, or the digest of an
    object in memory, and notes on what its frames do not show."""

    given: tuple[Given, ...] = ()
    records: tuple[dict[str, Any], ...] = ()


def read_conditions(request: ResolvedRequest, backbone: Backbone) -> ReadConditions:
    """Each condition as the backbone takes it: PIL images, or lists of them, of the request's width and height.

    An image or video that has that size and length already is unchanged to the bit. MediaError or InputError where one
    cannot be read or does not fit.
    """
    given, records = [], []
    for kind, name, frame, value in request.conditions.items():
        label = label_of(kind, name, frame)
        read, notes = _read(kind, name, label, value, request, backbone)
        given.append(Given(kind, read, frame, name))
        # those of the length begin with the label: the request's notes have them
        notes = [note for note in notes if note != SOUND and not note.startswith(label)]
        for note in notes:
            log_note("%s: %s", label, note)
        records.append(record_of(kind, name, frame, value) | ({"notes": notes} if notes else {}))
    return ReadConditions(tuple(given), tuple(records))


def _read(
    kind: str, name: str, label: str, value: Any, request: ResolvedRequest, backbone: Backbone
) -> tuple[Any, Sequence[str]]:
    """(value for the backbone, notes) of one condition."""
    fit, frames = request.conditions.fit, request.generated_frames
    size = None if backbone.keeps_size(kind, name) else (request.width, request.height)
    if kind == "audio":
        return (read_audio(value) if isinstance(value, str) else value), ()
    if kind == "mask":
        mask = read_condition_mask(value, frames, size, fit, name=label)
        return mask.to_pil(), mask.notes
    if kind in ("video", "control"):
        if kind == "video" and backbone.continues_video:
            frames = min(frames, probe_source(value, label).frames)
        clip = read_condition_clip(value, frames, size, fit, name=label)
        return clip.to_pil(), clip.notes
    image = read_condition_image(value, size, fit, name=label)
    return image.to_pil()[0], image.notes


def record_of(kind: str, name: str, frame: int, value: Any) -> dict[str, Any]:
    """A condition as the manifest names it, with the file's digest or that of an object in memory."""
    record: dict[str, Any] = {"kind": kind}
    if name:
        record["name"] = name
    if kind == "images":
        record["frame"] = frame
    if isinstance(value, str):
        return record | {"file": value, "sha256": sha256(Path(value))}
    return record | {"digest": digest_of(value)}
