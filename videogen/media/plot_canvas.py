"""Canvas of plots, drawn with Pillow at a multiple of the size and scaled down, which smooths the lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
INK: Colour = (38, 42, 48)
_PAPER = (255, 255, 255)
_FINER = 2
_TEXT_SIZE = 15
_PARTS = 4  # of an axis


class Pen:
    """Draws in pixels of the finished image, of width x height."""

    def __init__(self, width: int, height: int) -> None:
        self._size = width, height
        self._image = Image.new("RGB", (width * _FINER, height * _FINER), _PAPER)
        self._draw = ImageDraw.Draw(self._image)
        self._font = ImageFont.load_default(size=_TEXT_SIZE * _FINER)

    def text(self, x: float, y: float, text: str, colour: Colour = INK, anchor: str = "la") -> float:
        """Text at an anchor; its width."""
        self._draw.text((x * _FINER, y * _FINER), text, fill=colour, font=self._font, anchor=anchor)
        return self._draw.textlength(text, font=self._font) / _FINER

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, width: float = 2.0) -> None:
        flat = [(x * _FINER, y * _FINER) for x, y in points]
        self._draw.line(flat, fill=colour, width=round(width * _FINER), joint="curve")

    def dashes(
        self, points: Sequence[tuple[float, float]], colour: Colour, inked: float, period: float, width: float = 2.0
    ) -> None:
        """A line of which the first `inked` pixels of each period are drawn."""
        along = 0.0
        for (x0, y0), (x1, y1) in pairwise(points):
            length = math.hypot(x1 - x0, y1 - y0)
            start = -(along % period)  # of the period in which this part begins, before its own start
            while start < length and length:
                cuts = (min(length, max(0.0, at)) / length for at in (start, start + inked))
                first, last = ((x0 + (x1 - x0) * at, y0 + (y1 - y0) * at) for at in cuts)
                if first != last:
                    self.line([first, last], colour, width)
                start += period
            along += length

    def dot(self, x: float, y: float, colour: Colour, radius: float = 3.0) -> None:
        self.box(x - radius, y - radius, x + radius, y + radius, colour, round_by=radius)

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, round_by: float = 3.0) -> None:
        corners = [side * _FINER for side in (x0, y0, x1, y1)]
        self._draw.rounded_rectangle(corners, round_by * _FINER, fill=colour)

    def image(self) -> np.ndarray:
        """uint8 [height, width, 3] of what was drawn."""
        return np.array(self._image.resize(self._size, Image.Resampling.LANCZOS))


@dataclass(frozen=True)
class Scale:
    """Values on an axis from low to high, between two places in pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        low, high, value = (math.log10(x) if self.log else x for x in (self.low, self.high, value))
        fraction = (value - low) / (high - low) if high > low else 0.5
        return self.start + min(1.0, max(0.0, fraction)) * (self.end - self.start)

    def ticks(self) -> list[float]:
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            return [tick for power in powers if self.low <= (tick := 10.0**power) <= self.high]
        return [self.low + (self.high - self.low) * part / _PARTS for part in range(_PARTS + 1)]
