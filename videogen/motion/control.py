"""Motion control backends: warped noise and dual-clock sampling.

MotionControl.parse("warped_noise:texture,cutoff=0.2")     MotionControl.parse("dual_clock:0.95,0.8")
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from videogen.core.errors import InputError, unknown
from videogen.core.keywords import suggest_keywords
from videogen.core.text import shortest

#: Methods of `warped_noise`, as settings of `videogen.schedulers.WarpedNoise`. compat: reproduces the noise that the
#: published LoRAs of Go-with-the-Flow were trained on.
METHODS: dict[str, dict[str, Any]] = {
    "texture": {"method": "texture"},
    "bipartite": {"method": "bipartite"},
    "compat": {"method": "bipartite", "compat": True, "oversample": 4},
}
BACKENDS = ("warped_noise", "dual_clock")
STRENGTHS = {"warped_noise": 0.9, "dual_clock": 1.0}  # defaults


@suggest_keywords
@dataclass(frozen=True)
class MotionControl:
    """A backend and its settings; None: the model's default.

    method: for `warped_noise` (Go-with-the-Flow, 2501.08331), one of `METHODS`. cutoff: only wavelengths above
    1 / cutoff latent px follow the motion, for models not trained with warped noise (experimental). See
    `videogen.schedulers.WarpedNoise`. weak, strong: for `dual_clock` (Time-to-Move, 2511.08633), noise levels as
    fractions of the model's training timesteps, where 1 is pure noise: sampling begins at `weak` from the noised
    reference, and the controlled regions are replaced by the reference until `strong`.
    """

    backend: str
    method: str = "texture"
    cutoff: float | None = None
    weak: float | None = None
    strong: float | None = None

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise unknown("motion backend", self.backend, BACKENDS)
        if self.method not in METHODS:
            raise unknown("method of warped_noise", self.method, METHODS)
        if self.cutoff is not None and not 0 < self.cutoff <= 1:
            raise InputError(
                f"cutoff={self.cutoff:g} must be above 0 and at most 1; leave it out to apply the motion at all "
                "wavelengths"
            )
        if self.cutoff is not None and self.backend != "warped_noise":
            raise InputError(f"cutoff={self.cutoff:g} belongs to warped_noise, not to {self.backend}; leave it out")
        if (self.weak is None) != (self.strong is None):
            raise InputError(
                "dual_clock needs both noise levels or none: dual_clock:WEAK,STRONG, such as dual_clock:0.95,0.8"
            )
        if self.weak is not None and self.strong is not None and not 0 < self.strong <= self.weak < 1:
            raise InputError(
                f"dual_clock:{self.weak:g},{self.strong:g} must have 0 < strong <= weak < 1: the controlled regions "
                "are released last"
            )

    def __str__(self) -> str:
        """The spec string that `parse` reads."""
        if self.backend == "warped_noise":
            return f"{self.backend}:{self.method}" + ("" if self.cutoff is None else f",cutoff={self.cutoff!r}")
        return (
            self.backend if self.weak is None else f"{self.backend}:{shortest(self.weak)},{shortest(self.strong or 0)}"
        )

    @property
    def warping(self) -> dict[str, Any]:
        """Settings of `videogen.schedulers.WarpedNoise`."""
        return {**METHODS[self.method], "cutoff": self.cutoff}

    def with_clocks(self, weak: float, strong: float) -> MotionControl:
        """With the model's default noise levels, where the user gave none."""
        unset = self.backend == "dual_clock" and self.weak is None
        return replace(self, weak=weak, strong=strong) if unset else self

    @classmethod
    def parse(cls, text: str) -> MotionControl:
        """`warped_noise[:METHOD[,cutoff=C]]` or `dual_clock[:WEAK,STRONG]`. InputError for anything else."""
        backend, colon, rest = text.partition(":")
        if not colon or backend not in BACKENDS:
            return cls(backend)
        if backend == "warped_noise":
            method, comma, more = rest.partition(",")
            return cls(backend, method=method, cutoff=_cutoff(more, text) if comma else None)
        try:
            weak, strong = (float(word) for word in rest.split(","))
        except ValueError:
            raise InputError(
                f"motion backend {text!r} is not valid; write dual_clock:WEAK,STRONG, such as dual_clock:0.95,0.8"
            ) from None
        return cls(backend, weak=weak, strong=strong)


def _cutoff(option: str, text: str) -> float:
    name, _, value = option.partition("=")
    try:
        if name.strip() == "cutoff":
            return float(value)
    except ValueError:
        pass
    raise InputError(
        f"motion backend {text!r} is not valid; write warped_noise:METHOD,cutoff=C, such as "
        "warped_noise:texture,cutoff=0.2"
    )
