"""Training loop: time-boxed, resumable, with EMA and a log file. It knows nothing of the models, which are `Part`s.

The learning rate follows the clock (warm-up, then cosine to 3 %), so that a run of any length ends with a low rate.
"""

from __future__ import annotations

import copy
import json
import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .optimizer import MuonAdamW


@dataclass(frozen=True)
class Budget:
    """Time, device and output folder of a run."""

    minutes: float
    device: str
    out: Path
    steps: int | None = None  # an upper bound, for tests and trials
    #: PyTorch's math kernel: with few tokens, its backward pass is faster on a CPU than that of the flash kernel
    plain_attention: bool = False
    log_every_s: float = 20.0
    save_every_s: float = 180.0
    evaluate_every_s: float = 300.0


class Part(Protocol):
    """A trainable part of a model."""

    name: str
    learning_rate: float

    def modules(self) -> dict[str, nn.Module]: ...

    def loss(self, step: int, progress: float) -> tuple[torch.Tensor, dict[str, float]]:
        """One batch's loss; `progress` in 0..1 is the fraction of the time that has passed."""
        ...

    def evaluate(self, ema: dict[str, nn.Module]) -> dict[str, float]: ...

    def save(self, ema: dict[str, nn.Module], folder: Path) -> None: ...


def train(part: Part, budget: Budget) -> dict[str, float]:
    """Train until the time is up (or SIGTERM); writes `budget.out` in diffusers layout, with `log.jsonl` and a
    resumable `state.pt`."""
    budget.out.mkdir(parents=True, exist_ok=True)
    device_type = torch.device(budget.device).type
    modules = {name: module.to(budget.device).train() for name, module in part.modules().items()}
    parameters = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
    optimizer = MuonAdamW(modules.values(), lr=part.learning_rate)
    bf16 = device_type == "cuda" or (_multiplies_bf16() and not _has_pointwise_conv3d(modules.values()))
    run = _Run(part, budget, modules, optimizer)
    run.resume()
    signal.signal(signal.SIGTERM, run.stop)
    while not run.stopped and (progress := run.progress()) < 1.0:
        for group in optimizer.param_groups:
            group["lr"] = part.learning_rate * _learning_rate_factor(progress, run.step)
        with _fast_arithmetic(device_type, budget.plain_attention, bf16):
            loss, figures = part.loss(run.step, progress)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        if torch.isfinite(norm):
            optimizer.step()
        run.after_step(float(loss.detach()), figures)
    return run.finish()


@contextmanager
def _fast_arithmetic(device_type: str, plain_attention: bool, bf16: bool) -> Iterator[None]:
    """Autocast to bf16 if requested, and the requested attention kernel."""
    products = sdpa_kernel(SDPBackend.MATH) if plain_attention else nullcontext()
    with products, torch.autocast(device_type, torch.bfloat16, enabled=bf16):
        yield


def _multiplies_bf16() -> bool:
    """Whether the CPU has bf16 instructions (AMX, AVX512-BF16), which make it several times faster; without them, fp32
    is faster."""
    known: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def _has_pointwise_conv3d(modules: Iterable[nn.Module]) -> bool:
    """Whether there is a 1x1x1 Conv3d, whose backward pass in bf16 crashes the process on CPUs with AMX (oneDNN in
    torch 2.13, for inputs that are not contiguous)."""
    convolutions = (m for module in modules for m in module.modules() if isinstance(m, nn.Conv3d))
    return any(convolution.kernel_size == (1, 1, 1) for convolution in convolutions)


def _learning_rate_factor(progress: float, step: int) -> float:
    warm = min(1.0, (step + 1) / 50)
    return warm * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


class _Run:
    def __init__(self, part: Part, budget: Budget, modules: dict[str, nn.Module], optimizer: MuonAdamW) -> None:
        self.part, self.budget, self.modules, self.optimizer = part, budget, modules, optimizer
        self.ema = {name: copy.deepcopy(module).eval().requires_grad_(False) for name, module in modules.items()}
        self.step, self.spent_s, self._started = 0, 0.0, time.monotonic()
        self._figures: dict[str, list[float]] = {}
        self.stopped = False
        now = time.monotonic()
        self._last = {"log": now, "save": now, "evaluate": now}

    def stop(self, *_: object) -> None:
        """End the run after the current step is finished and saved."""
        self.stopped = True

    def elapsed_s(self) -> float:
        return self.spent_s + time.monotonic() - self._started

    def progress(self) -> float:
        by_time = self.elapsed_s() / (60 * self.budget.minutes)
        return max(by_time, self.step / self.budget.steps) if self.budget.steps else by_time

    def after_step(self, loss: float, figures: dict[str, float]) -> None:
        self.step += 1
        decay = min(0.999, (1 + self.step) / (20 + self.step))
        for name, module in self.modules.items():
            with torch.no_grad():
                for slow, fast in zip(self.ema[name].state_dict().values(), module.state_dict().values(), strict=True):
                    slow.lerp_(fast, 1 - decay) if slow.is_floating_point() else slow.copy_(fast)
        for name, value in {"loss": loss, **figures}.items():
            self._figures.setdefault(name, []).append(value)
        self._every("log", self.budget.log_every_s, self._log)
        self._every("evaluate", self.budget.evaluate_every_s, lambda: self._write(self.part.evaluate(self.ema)))
        self._every("save", self.budget.save_every_s, self.save)

    def _every(self, what: str, seconds: float, action: Callable[[], None]) -> None:
        if time.monotonic() - self._last[what] >= seconds:
            action()
            self._last[what] = time.monotonic()

    def _log(self) -> None:
        self._write({name: sum(values) / len(values) for name, values in self._figures.items()})
        self._figures = {}

    def _write(self, figures: dict[str, float]) -> None:
        row = {"part": self.part.name, "step": self.step, "minutes": round(self.elapsed_s() / 60, 2), **figures}
        line = json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()})
        with open(self.budget.out / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def save(self) -> None:
        self.part.save(self.ema, self.budget.out)
        state = {
            "step": self.step,
            "spent_s": self.elapsed_s(),
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "ema": {name: module.state_dict() for name, module in self.ema.items()},
            "optimizer": self.optimizer.state_dict(),
        }
        path = self.budget.out / "state.pt"
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def resume(self) -> None:
        path = self.budget.out / "state.pt"
        if not path.is_file():
            return
        state = torch.load(path, map_location=self.budget.device, weights_only=True)
        for name in self.modules:
            self.modules[name].load_state_dict(state["modules"][name])
            self.ema[name].load_state_dict(state["ema"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.spent_s = state["step"], state["spent_s"]

    def finish(self) -> dict[str, float]:
        figures = self.part.evaluate(self.ema)
        self._write(figures)
        self.save()
        return figures
