"""Manifests stored in video files: in the comment of mp4, mkv, webm and GIF, in a file next to PNGs that also has
their rate.

Of all tags of a container, tools such as `ffmpeg -c copy` retain the comment in every format; they drop custom tags.
"""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

from videogen.core.errors import MediaError
from videogen.core.stored_keys import with_current_keys

from .formats import image_format

#: begins a comment that is a manifest, in mp4, mkv and webm
_MARK = "videogen: "
#: the custom tag of earlier versions, which is still read
_EARLIER_TAG = "videogen"
FOLDER_FILE = "manifest.json"


def encode(manifest: dict[str, Any]) -> str:
    """One line of ASCII JSON, which every container stores unchanged."""
    return json.dumps(manifest, ensure_ascii=True, sort_keys=True)


def container_options(path: Path) -> dict[str, str]:
    """Muxer options of an mp4, mkv or webm: the index of an mp4 is written first, so that players can start at once;
    an mkv gets no random identifier, so that the same frames give the same bytes."""
    found = {".mp4": {"movflags": "faststart"}, ".mkv": {"fflags": "bitexact"}}
    return found.get(path.suffix.lower(), {})


def set_comment(container: Any, text: str | None) -> None:
    """Store a manifest (`encode`d; None: none) in a container that is opened for writing, before its header is."""
    if text is not None:
        container.metadata["comment"] = _MARK + text


def retag(path: Path, text: str | None, fps: Fraction) -> None:
    """Replace the manifest (`encode`d; None: none) of a finished mp4, mkv or webm. Packets are copied: frames stay.

    fps: the file's constant rate, given again because mkv and webm round it and the duration of each frame. The copy is
    written next to the file and then renamed over it.
    """
    import av

    copy = path.with_name(f"retagged{path.suffix}")
    with av.open(str(path)) as source, av.open(str(copy), "w", options=container_options(path)) as target:
        set_comment(target, text)
        stream = source.streams.video[0]
        track = target.add_stream_from_template(stream, framerate=fps)
        for packet in source.demux(stream):
            if packet.size:  # an empty one marks the end
                packet.stream, packet.duration = track, round(1 / (fps * packet.time_base))
                target.mux(packet)
    os.replace(copy, path)


def write_folder_file(folder: Path, fps: Fraction, manifest: dict[str, Any] | None) -> None:
    """Write the rate and the manifest of a folder of PNGs."""
    (folder / FOLDER_FILE).write_text(encode({"fps": str(fps), "manifest": manifest}), encoding="utf-8")


def read_folder_fps(folder: Path) -> Fraction | None:
    """The rate of a folder of images written by videogen; None for any other folder."""
    try:
        return Fraction(json.loads((folder / FOLDER_FILE).read_text(encoding="utf-8"))["fps"])
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return None


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The manifest of a file written by videogen; None where it has none. MediaError where the file cannot be read."""
    path = Path(path)
    try:
        there = path.exists()
    except (OSError, ValueError) as error:
        raise MediaError(f"{str(path)[:80]!r} is not a file name ({error})") from error
    if not there:
        raise MediaError(f"{path} does not exist")
    try:
        text = _read_text(path)
        values = json.loads(text) if text else None
        if path.is_dir() and isinstance(values, dict):
            values = values.get("manifest")
    except MediaError:
        raise
    except ValueError:
        return None
    except OSError as error:
        raise MediaError(f"{path} cannot be read ({error})") from error
    return with_current_keys(values) if isinstance(values, dict) else None


def _read_text(path: Path) -> str | None:
    if path.is_dir():
        file = path / FOLDER_FILE
        return file.read_text(encoding="utf-8") if file.is_file() else None
    form = image_format(path)
    if form is not None and form.name != "GIF":
        return None
    if form is not None:
        from PIL import Image

        with Image.open(path) as image:
            comment = image.info.get("comment", b"")
        return comment.decode("utf-8", "replace") if isinstance(comment, bytes) else str(comment)
    from .probe import open_container

    with open_container(path) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
    comment = tags.get("comment", "")
    return comment.removeprefix(_MARK) if comment.startswith(_MARK) else tags.get(_EARLIER_TAG)
