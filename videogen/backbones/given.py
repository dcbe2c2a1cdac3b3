"""Conditions of a clip besides its prompt: images, videos, masks, control videos, references, audio. No torch here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Audio:
    """Sound of a batch of clips. samples: float [clip, channel, sample] from -1 to 1; rate: samples per second."""

    samples: Any
    rate: int


@dataclass(frozen=True)
class Given:
    """One condition of a clip, read and sized.

    kind: its keyword of `Engine.generate`, such as `image` or `control`; value: a PIL image, a list of them, or audio
    (samples [channel, sample], rate). frame: where an image of `images` stands, -1 for the last; name: which control.
    """

    kind: str
    value: Any
    frame: int = 0
    name: str = ""

    @property
    def key(self) -> str:
        """The kind, with the name of a control: `control:depth`."""
        return f"{self.kind}:{self.name}" if self.name else self.kind


def given_value(given: Iterable[Given], key: str) -> Any:
    """The value of the condition with this key; a list for `images` and `references`, None where there is none."""
    found = [one for one in given if one.key == key]
    return found[0].value if found else None
