"""Cost of kernel validation: what the checks of a first and of a later render take, as a fraction of the render.

Time within the checks is measured in the process (CPU time of its threads), so that a busy machine does not change the
fraction. A first render checks every shape; a later one of the same engine checks none. Writes
benchmarks/validation.json.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from tools.bench.files import BENCHMARKS, write_report
from tools.bench.render import PROMPT, SEED
from videogen import Engine
from videogen.attention.kernels import watch
from videogen.techniques import convolution_validation

_HOMES: tuple[tuple[Any, str], ...] = ((watch, "find_fault"), (convolution_validation, "find_convolution_fault"))
#: name -> model and clip; a check costs about as much for a long render as for a short one
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "embedded": ("embedded", {}),
    "embedded, 33 frames of 128 px": ("embedded", {"frames": 33, "width": 128, "height": 128}),
    "embedded-unet": ("embedded-unet", {}),
}
TARGET = 0.005


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=BENCHMARKS / "validation.json")


def run(options: argparse.Namespace) -> int:
    rows = {name: measure(model, clip) for name, (model, clip) in CASES.items()}
    for name, row in rows.items():
        print(name, row)
    write_report(options.out, "validation", {"target": TARGET, "rows": rows}, device="cpu")
    return 0


def measure(name: str, clip: dict[str, Any]) -> dict[str, Any]:
    """Fractions of a render's CPU time that the checks take: in the first of an engine, and in the next."""
    Engine.load(name, device="cpu").generate(PROMPT, seed=SEED, validate=False, **clip)  # warms up
    engine = Engine.load(name, device="cpu")
    found = {}
    for render in ("first", "second"):
        with _Stopwatch() as checks:
            start = time.process_time()
            video = engine.generate(PROMPT, seed=SEED, **clip)
            render_s = time.process_time() - start
        kernels = (video.manifest or {})["measured"]["kernels"]
        compared = sum(part["validated"] for part in (kernels, kernels["text_encoder"], kernels["decoder"]))
        found[render] = {
            "render_cpu_s": round(render_s, 3), "checks_cpu_s": round(checks.seconds, 4),
            "fraction": round(checks.seconds / render_s, 5), "compared": compared,
        }  # fmt: skip
    return found


class _Stopwatch:
    """CPU time within the comparisons, in seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._before = [getattr(module, name) for module, name in _HOMES]

    def __enter__(self) -> _Stopwatch:
        for (module, name), work in zip(_HOMES, self._before, strict=True):
            setattr(module, name, self._timed(work))
        return self

    def __exit__(self, *_: object) -> None:
        for (module, name), work in zip(_HOMES, self._before, strict=True):
            setattr(module, name, work)

    def _timed(self, work: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return work(*args, **kwargs)
            finally:
                self.seconds += time.process_time() - start

        return call
