"""The manifest inside a file: a tag of the container for mp4 and webm, a comment for GIF, beside PNGs a file with their
rate."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

from videogen.core.errors import MediaError
from videogen.core.stored_keys import with_current_keys

TAG = "videogen"
FOLDER_FILE = "manifest.json"


def encode(manifest: dict[str, Any]) -> str:
    """One line of ASCII JSON, which every container keeps as it is."""
    return json.dumps(manifest, ensure_ascii=True, sort_keys=True)


def container_options(path: Path) -> dict[str, str]:
    """How an mp4 or webm is muxed: mp4 keeps tags of its own naming, and its index stands first."""
    return {} if path.suffix.lower() == ".webm" else {"movflags": "use_metadata_tags+faststart"}


def retag(path: Path, text: str | None, fps: Fraction) -> None:
    """Give a finished mp4 or webm another manifest (`encode`d; None: none). Packets are copied, so no frame changes.

    fps: the file's constant rate, said again since webm rounds it and each frame's duration. The copy is made beside
    the file, then takes its name.
    """
    import av

    copy = path.with_name(f"retagged{path.suffix}")
    with av.open(str(path)) as source, av.open(str(copy), "w", options=container_options(path)) as target:
        if text is not None:
            target.metadata[TAG] = text
        stream = source.streams.video[0]
        track = target.add_stream_from_template(stream, framerate=fps)
        for packet in source.demux(stream):
            if packet.size:  # an empty one marks the end
                packet.stream, packet.duration = track, round(1 / (fps * packet.time_base))
                target.mux(packet)
    os.replace(copy, path)


def write_folder_file(folder: Path, fps: Fraction, manifest: dict[str, Any] | None) -> None:
    """What a folder of PNGs cannot say itself."""
    (folder / FOLDER_FILE).write_text(encode({"fps": str(fps), "manifest": manifest}), encoding="utf-8")


def read_folder_fps(folder: Path) -> Fraction | None:
    """The rate of a folder of images that videogen wrote; None of any other."""
    try:
        return Fraction(json.loads((folder / FOLDER_FILE).read_text(encoding="utf-8"))["fps"])
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return None


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The manifest of a file that videogen wrote, or None where it carries none. MediaError where it can't be read."""
    path = Path(path)
    try:
        there = path.exists()
    except (OSError, ValueError) as error:
        raise MediaError(f"{str(path)[:80]!r} is no file name ({error})") from error
    if not there:
        raise MediaError(f"{path} does not exist")
    try:
        text = _text(path)
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


def _text(path: Path) -> str | None:
    if path.is_dir():
        beside = path / FOLDER_FILE
        return beside.read_text(encoding="utf-8") if beside.is_file() else None
    if path.suffix.lower() == ".gif":
        from PIL import Image

        with Image.open(path) as image:
            comment = image.info.get("comment", b"")
        return comment.decode("utf-8", "replace") if isinstance(comment, bytes) else str(comment)
    from .probe import open_container

    with open_container(path) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
    return tags.get(TAG)
