"""How a motion is made to happen: by warped noise, or by dual-clock sampling.

MotionControl.parse("warped_noise:bipartite")     MotionControl.parse("dual_clock:0.95,0.8")
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from videogen.core.errors import InputError, unknown
from videogen.schedulers.warped import METHODS

BACKENDS = ("warped_noise", "dual_clock")
STRENGTHS = {"warped_noise": 0.9, "dual_clock": 1.0}  # where nothing is asked for


@dataclass(frozen=True)
class MotionControl:
    """A backend and its settings; None: as the model has it.

    method: of `warped_noise` (Go-with-the-Flow, 2501.08331), see `videogen.schedulers.WarpedNoise`.
    weak, strong: of `dual_clock` (Time-to-Move, 2511.08633), noise levels as shares of the model's training timesteps, 1 pure
    noise: sampling begins at `weak` from the noised reference, whose told parts are put back in until `strong`.
    """

    backend: str
    method: str = "texture"
    weak: float | None = None
    strong: float | None = None

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise unknown("motion backend", self.backend, BACKENDS)
        if self.method not in METHODS:
            raise unknown("method of warped_noise", self.method, METHODS)
        if (self.weak is None) != (self.strong is None):
            raise InputError("dual_clock needs both noise levels or none: dual_clock:WEAK,STRONG, such as dual_clock:0.95,0.8")
        if self.weak is not None and self.strong is not None and not 0 < self.strong <= self.weak < 1:
            raise InputError(f"dual_clock:{self.weak:g},{self.strong:g} must have 0 < strong <= weak < 1: the told parts end last")

    def __str__(self) -> str:
        """The words that `parse` reads."""
        if self.backend == "warped_noise":
            return f"{self.backend}:{self.method}"
        return self.backend if self.weak is None else f"{self.backend}:{self.weak:g},{self.strong:g}"

    def with_clocks(self, weak: float, strong: float) -> MotionControl:
        """With a model's own noise levels, where they are its to say."""
        open_ = self.backend == "dual_clock" and self.weak is None
        return replace(self, weak=weak, strong=strong) if open_ else self

    @classmethod
    def parse(cls, text: str) -> MotionControl:
        """`warped_noise`, `warped_noise:METHOD`, `dual_clock`, or `dual_clock:WEAK,STRONG`. InputError for anything else."""
        backend, colon, rest = text.partition(":")
        if not colon or backend not in BACKENDS:
            return cls(backend)
        if backend == "warped_noise":
            return cls(backend, method=rest)
        try:
            weak, strong = (float(word) for word in rest.split(","))
        except ValueError:
            raise InputError(f"motion backend {text!r} is none; write dual_clock:WEAK,STRONG, such as dual_clock:0.95,0.8") from None
        return cls(backend, weak=weak, strong=strong)
