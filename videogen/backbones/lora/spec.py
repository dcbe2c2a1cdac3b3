"""LoRA specification: which file, how strong, in which part of the run, for which expert. No torch here.

As text: `[EXPERT=]FILE[:WEIGHT][@START-END]`, such as `speed.safetensors:0.8@0-0.5` or `high=motion.safetensors`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from videogen.core.errors import InputError
from videogen.core.keywords import suggest_keywords
from videogen.core.tables import check_keys

#: the experts of a model with two denoisers, in the order of its denoisers
EXPERTS = ("high", "low")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_TEXT = re.compile(
    rf"(?:(?P<expert>{'|'.join(EXPERTS)})=)?(?P<file>.+?)(?::(?P<weight>{_NUMBER}))?"
    r"(?:@(?P<start>\d*\.?\d+)-(?P<end>\d*\.?\d+))?"
)
_FORM = "[EXPERT=]FILE[:WEIGHT][@START-END], such as speed.safetensors:0.8@0-0.5"


@suggest_keywords
@dataclass(frozen=True)
class Lora:
    """One LoRA of a request.

    file: safetensors, or a folder with a single such file. weight: 1 is as trained, 0 is off, below 0 is the opposite.
    start, end: the part of the run in which it is on, as fractions of the steps: a step i of n is in it where
    start <= i / n < end. expert: `high` or `low`, the high-noise or the low-noise expert of a model with two; None: all
    denoisers. sha256: what the file must be, where a manifest or a job has recorded it. InputError for values that no
    model can be given.
    """

    file: str
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    expert: str | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.file, str | PathLike) or not fspath(self.file):
            raise InputError(f"file={self.file!r} of a LoRA is not the name of a file; write {_FORM}")
        object.__setattr__(self, "file", str(Path(self.file).expanduser().absolute()))
        for name in ("weight", "start", "end"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise InputError(f"{name}={value!r} of the LoRA {self.name} is not a finite number; write {_FORM}")
            object.__setattr__(self, name, float(value))
        if not 0 <= self.start < self.end <= 1:
            raise InputError(
                f"the LoRA {self.name} is on @{self.start:g}-{self.end:g}; give fractions of the steps with "
                "0 <= START < END <= 1, such as @0-0.5"
            )
        if self.expert is not None and self.expert not in EXPERTS:
            raise InputError(f"expert={self.expert!r} of the LoRA {self.name} is unknown; use {' or '.join(EXPERTS)}")

    @property
    def name(self) -> str:
        """The file's name without its folder, for messages."""
        return Path(self.file).name

    @property
    def is_constant(self) -> bool:
        """Whether its weight is the same at every step."""
        return (self.start, self.end) == (0, 1) or not self.weight

    def weight_at(self, step: int, steps: int) -> float:
        """Its weight at a step, counted from 0, of so many."""
        return self.weight if self.start <= step / steps < self.end else 0.0

    @classmethod
    def from_value(cls, value: Any) -> Lora:
        """From text, a path, a dict of the fields, or one. InputError for what is none of them."""
        if isinstance(value, cls):
            return value
        if isinstance(value, PathLike):
            return cls(fspath(value))
        given = split_lora(value)
        if not isinstance(given, Mapping):
            raise InputError(f"lora={value!r} is not a LoRA; write {_FORM}")
        check_keys(dict(given), [field.name for field in fields(cls)], "the LoRA")
        if "file" not in given:
            raise InputError(f"the LoRA {dict(given)!r} has no file; add file='NAME.safetensors'")
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, which `from_value` reads."""
        return asdict(self)


def split_lora(value: Any) -> Any:
    """A LoRA as text in its parts, the fields of `Lora`; anything else as it is. InputError for an empty text."""
    if not isinstance(value, str):
        return value
    found = _TEXT.fullmatch(value.strip())
    if found is None:
        raise InputError(f"lora={value!r} is not a LoRA; write {_FORM}")
    given = {name: text for name, text in found.groupdict().items() if text is not None}
    return {name: float(text) if name in ("weight", "start", "end") else text for name, text in given.items()}


def read_loras(values: Any) -> tuple[Lora, ...]:
    """The LoRAs of a request's field. InputError for what is not a list of LoRAs."""
    if isinstance(values, str | PathLike | Mapping | Lora) or not isinstance(values, Iterable):
        raise InputError(f"loras={values!r} must be a list, such as loras=['style.safetensors:0.8']")
    return tuple(Lora.from_value(value) for value in values)
