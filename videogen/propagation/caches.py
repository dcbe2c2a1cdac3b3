"""The feature caches that diffusers ships, by name: which of them, and its one number. No torch here; `library`
attaches them.

first-block   First Block Cache, after TeaCache (arXiv 2411.19108): the blocks' change is kept while the first block's
is alike magcache      MagCache (arXiv 2506.09045): kept while the product of measured magnitude ratios stays near 1
seacache      SeaCache (arXiv 2602.18993): kept while the spectrally filtered latents are alike taylorseer    TaylorSeer
(arXiv 2503.06923): attention and feed-forward outputs are extrapolated pab           Pyramid Attention Broadcast (arXiv
2408.12588): attention outputs are kept fastercache   FasterCache (arXiv 2410.19355): attention outputs are
extrapolated, the unconditional half made from the other
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from videogen.core.errors import InputError, unknown


@dataclass(frozen=True)
class Kind:
    default: float
    unit: str  # what the number is: a `threshold` above 0, or an `interval`, a whole number of steps
    config: str  # the library's class of its settings
    keeps_blocks: bool  # passes over whole blocks, whose argument positions the library must know


KINDS = {
    "first-block": Kind(0.08, "threshold", "FirstBlockCacheConfig", True),
    "magcache": Kind(0.06, "threshold", "MagCacheConfig", True),
    "taylorseer": Kind(3, "interval", "TaylorSeerCacheConfig", False),
    "fastercache": Kind(2, "interval", "FasterCacheConfig", False),
    "pab": Kind(2, "interval", "PyramidAttentionBroadcastConfig", False),
    "seacache": Kind(0.25, "threshold", "SeaCacheConfig", True),
}


@dataclass(frozen=True)
class LibraryCache:
    """Which of the library's caches, and its one number; None: a default.

    value: for `first-block`, `magcache` and `seacache` a threshold above 0, more is faster; for `taylorseer`, `pab` and
    `fastercache` an interval, every how many steps all is computed; 1 is the plain model. `fastercache:N` computes the
    unconditional half every 2N+1 steps. Raises InputError.
    """

    name: str
    value: float | None = None

    def __post_init__(self) -> None:
        if self.name not in KINDS:
            raise unknown("cache", str(self.name), KINDS)
        kind = KINDS[self.name]
        value = kind.default if self.value is None else self.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise InputError(f"{self.name}:{value} needs a {kind.unit} above 0, such as {self.name}:{kind.default:g}")
        if kind.unit == "interval" and value != int(value):
            raise InputError(
                f"{self.name}:{value:g} needs a whole number of steps, such as {self.name}:{kind.default:g}"
            )
        object.__setattr__(self, "value", int(value) if kind.unit == "interval" else float(value))

    @classmethod
    def parse(cls, word: str) -> LibraryCache | None:
        """`first-block:0.08`, `pab`; None where the word before `:` is no such cache. InputError for a bad number."""
        name, colon, number = word.strip().partition(":")
        if name not in KINDS:
            return None
        try:
            value = float(number) if colon else None
        except ValueError:
            raise InputError(f"{word!r} needs a number after ':', such as {name}:{KINDS[name].default:g}") from None
        return cls(name, value)

    def __str__(self) -> str:
        return f"{self.name}:{self.value:g}"
