"""What propagation is asked for: one frozen, checkable description, and the command line's words for it. No torch
here."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

from videogen.core.errors import InputError, nearest, unknown
from videogen.propagation.key_step_lists import PUBLISHED

PREDICTORS = ("auto", "hold", "linear", "sigma", "probe")
WORDS = "off, max_error:E, fd, fd-dpm, every:N, deepcache:N, or diffusers' first-block, seacache, taylorseer, pab, fastercache"
_NUMBER = r"(\d+)"
_BOUNDARIES = {
    "auto": re.compile("auto"), "fd": re.compile("fd"), "output": re.compile("output"),
    "deepcache": re.compile(rf"deepcache(?::{_NUMBER})?"),
    "cut": re.compile(rf"cut:{_NUMBER},{_NUMBER}"), "blocks": re.compile(rf"blocks:{_NUMBER},{_NUMBER}"),
}  # fmt: skip


@dataclass(frozen=True)
class EncoderPropagation:
    """Which steps are evaluated whole, and what the steps between take over from them.

    max_error: promised relative L2 error of the final latents against the plain run; None where `keys` are given. keys:
    `fd` or `fd-dpm` (published lists, scaled to the run's steps), `every:N`, or the steps themselves. boundary: `auto`;
    for UNets `fd`, `deepcache:BRANCH`, `cut:E,D` (see `unet`); for transformers `blocks:FRONT,TAIL` (see `blocks`); for
    both `output` (see `output`). predictor: `hold`, `linear` (in the log signal-to-noise ratio), `sigma` (linear in
    sigma), `probe` (blocks only), `auto`. first, last: steps at either end that are always keys under `max_error`;
    first None: a tenth of the steps, in which a clip's content is settled. micro_batch: steps that are decoded in one
    batch where the boundary allows it, each with its own copy of what is kept; 1: one by one. roll_back: go back to a
    snapshot where a key step shows an error far above its estimate (in the engine's loop). frames: at a key step, run
    the encoder's spatial layers on every `frames`-th frame and propagate to its neighbours; frames_gate: least
    similarity of the predicted clean latents for that. prior_noise: alpha of z += alpha * z_T after each step below the
    share `prior_noise_below` of the noise.
    """

    max_error: float | None = None
    keys: str | tuple[int, ...] | None = None
    boundary: str = "auto"
    predictor: str = "auto"
    first: int | None = None
    last: int = 1
    micro_batch: int = 4
    roll_back: bool = True
    frames: int = 1
    frames_gate: float = 0.8
    prior_noise: float = 0.0
    prior_noise_below: float = 0.5

    def __post_init__(self) -> None:
        if isinstance(self.keys, list):
            object.__setattr__(self, "keys", tuple(self.keys))
        if self.max_error is None and self.keys is None:
            object.__setattr__(self, "max_error", 0.02)
        if self.max_error is not None and self.keys is not None:
            raise InputError(
                f"max_error={self.max_error} and keys={self.keys!r} are both given; one of them decides the key steps"
            )
        if self.max_error is not None and (self.frames > 1 or self.prior_noise):
            what = f"frames={self.frames}" if self.frames > 1 else f"prior_noise={self.prior_noise}"
            raise InputError(
                f"with {what} key steps are not the plain model's, so no max_error is promised; give keys, such as every:2"
            )
        if self.max_error is not None:
            _check_number("max_error", self.max_error, 0.0, 1.0)
        _check_keys(self.keys)
        parse_boundary(self.boundary)
        if self.predictor not in PREDICTORS:
            raise unknown("predictor", str(self.predictor), PREDICTORS)
        if self.predictor == "probe" and not self.boundary.startswith(("auto", "blocks")):
            raise InputError(
                f"predictor 'probe' needs the front blocks of a transformer, not boundary {self.boundary!r}; use blocks:1,1"
            )
        for name, least in (("first", 1), ("last", 0), ("frames", 1), ("micro_batch", 1)):
            value = getattr(self, name)
            if value is not None and (not _whole(value) or value < least):
                raise InputError(f"{name}={value!r} must be a whole number of at least {least}")
        if not isinstance(self.roll_back, bool):
            raise InputError(f"roll_back={self.roll_back!r} must be true or false")
        for name, high in (("frames_gate", 1.0), ("prior_noise", 1.0), ("prior_noise_below", 1.0)):
            value = getattr(self, name)
            if not _number_like(value) or not 0 <= value <= high:
                raise InputError(f"{name}={value!r} must be from 0 to {high:g}")

    @classmethod
    def parse(cls, word: str) -> EncoderPropagation | None:
        """The command line's word; None for `off`. InputError for any other."""
        name, _, rest = word.strip().partition(":")
        if name == "off" and not rest:
            return None
        if name == "max_error":
            return cls(max_error=_number(word, rest))
        if name in PUBLISHED and not rest:
            return cls(keys=name, boundary="fd", predictor="hold")
        if name == "every":
            return cls(keys=f"every:{_every(word, rest)}")
        if name == "deepcache":
            return cls(keys=f"every:{_every(word, rest or '3')}", boundary="deepcache:0", predictor="hold")
        raise InputError(f"unknown propagation {word!r}; use one of {WORDS}")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EncoderPropagation:
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                guess = nearest(key, known)
                hint = f"did you mean {guess!r}?" if guess else f"known: {', '.join(known)}"
                raise InputError(f"unknown key {key!r} of propagation; {hint}")
        return cls(**values)


def parse_boundary(text: object) -> tuple[str, tuple[int, ...]]:
    """(kind, its numbers) of a boundary's name; InputError for one that is none."""
    for kind, pattern in _BOUNDARIES.items():
        if isinstance(text, str) and (match := pattern.fullmatch(text)):
            return kind, tuple(int(n) for n in match.groups() if n is not None)
    raise InputError(f"boundary={text!r} is none; use auto, output, fd, deepcache:BRANCH, cut:E,D or blocks:FRONT,TAIL")


def _check_keys(keys: object) -> None:
    if keys is None or (isinstance(keys, str) and keys in PUBLISHED):
        return
    if isinstance(keys, str):
        name, _, rest = keys.partition(":")
        if name != "every":
            raise InputError(
                f"keys={keys!r} is unknown; use {', '.join(PUBLISHED)}, every:N, or a list of steps that begins with 0"
            )
        _every(keys, rest)
        return
    if not isinstance(keys, Sequence) or not all(_whole(key) for key in keys):
        raise InputError(f"keys={keys!r} must be a name, every:N, or a list of whole numbers")
    from videogen.propagation.key_step_lists import checked_keys

    checked_keys(keys, max(keys, default=0) + 1)


def _every(word: str, rest: str) -> int:
    if not rest.isdecimal() or int(rest) < 1:
        name = word.partition(":")[0]
        raise InputError(f"{word!r} needs a whole number of at least 1 after the colon, such as {name}:3")
    return int(rest)


def _number(word: str, rest: str) -> float:
    try:
        return float(rest)
    except ValueError:
        raise InputError(f"{word!r} needs a number after the colon, such as max_error:0.02") from None


def _check_number(name: str, value: Any, low: float, high: float) -> None:
    if not _number_like(value) or not math.isfinite(value) or not low < value < high:
        raise InputError(f"{name}={value!r} must be above {low:g} and below {high:g}, such as 0.02")


def _number_like(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
