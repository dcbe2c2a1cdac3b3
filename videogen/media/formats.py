"""Media formats that are read: one row each, recognised by the first bytes of a file, never by its name alone.

Images, also animated ones, are decoded by `images`, everything else by a video reader. Whatever is not in the table is
refused, so that no file can reach one of the rarer decoders of the libraries.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from videogen.core.errors import MediaError

_HEAD_BYTES = 16


@dataclass(frozen=True)
class MediaFormat:
    """name: shown in messages; suffixes: of its files; demuxers: FFmpeg's names for it, comma-separated; signature:
    regular expression of an image's first bytes, None for a video; end: regular
    expression of what it ends with, where that is the only sign that it is complete."""

    name: str
    suffixes: tuple[str, ...]
    demuxers: str
    signature: bytes | None = None
    end: bytes = b""

    @property
    def is_image(self) -> bool:
        return self.signature is not None


FORMATS = (
    MediaFormat("PNG", (".png", ".apng"), "png_pipe,apng", rb"\x89PNG\r\n\x1a\n", end=rb"IEND\xaeB`\x82"),
    MediaFormat("JPEG", (".jpg", ".jpeg"), "jpeg_pipe", rb"\xff\xd8\xff"),
    MediaFormat("WebP", (".webp",), "webp_pipe", rb"RIFF....WEBP"),
    MediaFormat("BMP", (".bmp",), "image2", rb"BM....\0\0\0\0"),
    MediaFormat("GIF", (".gif",), "gif", rb"GIF8[79]a", end=rb";\0*\Z"),
    MediaFormat("MP4 and QuickTime", (".mp4", ".m4v", ".mov", ".3gp"), "mov,mp4,m4a,3gp,3g2,mj2"),
    MediaFormat("Matroska and WebM", (".mkv", ".webm"), "matroska,webm"),
    MediaFormat("AVI", (".avi",), "avi"),
    MediaFormat("MPEG", (".ts", ".mpg", ".mpeg", ".m2v"), "mpegts,mpeg,mpegvideo"),
    MediaFormat("Ogg", (".ogv",), "ogg"),
    MediaFormat("FLV", (".flv",), "flv"),
    MediaFormat("ASF", (".wmv",), "asf"),
    MediaFormat("MXF", (".mxf",), "mxf"),
)
DEMUXERS = ",".join(row.demuxers for row in FORMATS)
IMAGE_SUFFIXES = tuple(suffix for row in FORMATS if row.is_image for suffix in row.suffixes)
SUFFIXES = tuple(suffix for row in FORMATS for suffix in row.suffixes)
#: for messages
IMAGE_NAMES = ", ".join(row.name for row in FORMATS if row.is_image)
VIDEO_NAMES = ", ".join(row.name for row in FORMATS if not row.is_image)


def explain_unreadable(path: str | os.PathLike[str]) -> str:
    """What may be the reason that a file is not recognised, for a message: that its name is not of a format that is
    read, or else that its content is not."""
    if Path(path).suffix.lower() in SUFFIXES:
        return "it may be damaged or not a video"
    return f"read are videos ({VIDEO_NAMES}), images ({IMAGE_NAMES}) and folders of images: convert it first"


def image_format(path: Path) -> MediaFormat | None:
    """The format of an image file, by its content; None for other files. MediaError where it cannot be read, or where
    only its name is that of an image."""
    if not path.is_file():  # reading a pipe or a device would wait
        return None
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise MediaError(f"{path} cannot be read ({error.strerror or error})") from error
    for row in FORMATS:
        if row.signature is not None and re.match(row.signature, head, re.DOTALL):
            return row
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise MediaError(f"{path} cannot be read as an image; it is damaged, or not what its suffix says")
    return None
