"""Text for a terminal."""

from __future__ import annotations

from .types import Json


def printable(value: object) -> str:
    """A value in one line; control characters, which could move the cursor or colour the screen, are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))


def plural(count: int, noun: str) -> str:
    """`1 frame`, `2 frames`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def attempt_label(segment: Json) -> str:
    """Which attempt at a segment a video shows, from the segment's row in its manifest."""
    return f"redo {segment['redone']}" if segment.get("redone") else str(segment["attempt"])
