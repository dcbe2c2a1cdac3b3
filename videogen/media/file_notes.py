"""What a video file has that its frames do not show: sound, HDR, pixels that are not square, interlacing.

Such files are read as they are stored, and `Video.notes` says what is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

SOUND = "its sound is not read: a saved copy is silent"
#: transfer characteristics of ITU-T H.273 that are HDR
_HDR = {16: "PQ", 18: "HLG"}
_BT2020 = 9


def collect_notes(container: Any, interlaced: bool) -> tuple[str, ...]:
    """Notes on an open container, one sentence each. interlaced: whether any decoded frame was."""
    stream = container.streams.video[0]
    return (
        *_sound(container),
        *_colours(stream.codec_context),
        *_pixel_aspect(stream),
        *(
            ["it is interlaced: moving edges are combed; deinterlace it first, for example with `ffmpeg -vf bwdif`"]
            if interlaced
            else []
        ),
    )


def _sound(container: Any) -> Iterator[str]:
    if container.streams.audio:
        yield SOUND


def _colours(context: Any) -> Iterator[str]:
    transfer = _HDR.get(context.color_trc)
    if transfer:
        yield f"it is HDR ({transfer}), read as if it were SDR: colours look dull; tone map it first"
    elif context.color_primaries == _BT2020:
        yield "it has wide-gamut colours (BT.2020), read as if they were BT.709: they look dull; convert it first"


def _pixel_aspect(stream: Any) -> Iterator[str]:
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    if aspect and aspect > 0 and aspect != 1:
        width, height = stream.codec_context.width, stream.codec_context.height
        displayed = f"{round(width * Fraction(aspect))}x{height}"
        yield (
            f"its pixels are not square ({aspect.numerator}:{aspect.denominator}): frames are {width}x{height} as "
            f"stored, players show {displayed}; scale it first"
        )
