"""Calibration: how long this machine takes for an operator, measured once and stored on disk.

Each distinct call of a plan (operator, shapes, dtype) is run a few times on random values, for some milliseconds. Calls
that are too large for that are taken from the rate, in seconds per floating-point operation and per byte, of a smaller
call of the same kind. A pass takes the sum over its calls, and a constant for each of them: what the interpreter takes
between two operators.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from videogen.core.disk_cache import OPERATORS, DiskCache

from .counter import LiveStorageCounter, OperatorCall, TensorShape

#: of a call that is run at its own size
MOST_FLOPS, MOST_BYTES = 4 << 30, 256 << 20
_RUNS, _MOST_RUNS, _LEAST_S = 4, 50, 5e-3
_KINDS = {"mm": "matmul", "addmm": "matmul", "bmm": "matmul", "baddbmm": "matmul", "convolution": "convolution"}


class Calibration:
    """The times of one machine's operators on one device. cache: where they are stored between runs; None: nowhere;
    clock: of seconds."""

    def __init__(
        self, device: torch.device, cache: DiskCache | None = None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.device, self._cache, self._clock = device, cache, clock
        self._key = machine_key(device)
        stored = None if cache is None else cache.read(self._key)
        self._seconds: dict[str, float] = {} if stored is None else json.loads(stored)

    def seconds(self, calls: Counter[OperatorCall]) -> float:
        """How long all of these calls take, one after another."""
        before = len(self._seconds)
        total = sum(count * self._seconds_of(call) for call, count in calls.items())
        total += sum(calls.values()) * self._overhead()
        if self._cache is not None and len(self._seconds) > before:
            self._cache.write(self._key, json.dumps(self._seconds).encode())
        return total

    def _seconds_of(self, call: OperatorCall) -> float:
        if call.flops > MOST_FLOPS or call.moved > MOST_BYTES:
            return self._by_rate(call)
        return self.stored(_name_of(call), lambda: self._measure(call))

    def stored(self, name: str, measure: Callable[[], float]) -> float:
        """A time of this machine by name, measured where it is not known yet."""
        if name not in self._seconds:
            self._seconds[name] = measure()
        return self._seconds[name]

    def time(self, run: Callable[[], object]) -> float:
        """Seconds of the fastest of a few runs."""
        return _fastest(run, self.device, self._clock)

    def _measure(self, call: OperatorCall) -> float:
        """Seconds of one call with random values; at the memory's rate where it cannot be made without its own."""
        try:
            arguments, keywords = _with_values(call, self.device)
            with torch.no_grad():
                return self.time(lambda: call.operator(*arguments, **keywords))
        except Exception:  # an operator that is only valid for certain values
            return call.moved * self._rate("memory", torch.float32)

    def _by_rate(self, call: OperatorCall) -> float:
        dtype = next((part.dtype for part in call.arguments if isinstance(part, TensorShape)), torch.float32)
        by_bytes = call.moved * self._rate("memory", dtype)
        if not call.flops:
            return by_bytes
        name = call.operator._overloadpacket.__name__
        return max(by_bytes, call.flops * self._rate(_KINDS.get(name, "attention"), dtype))

    def _rate(self, kind: str, dtype: torch.dtype) -> float:
        """Seconds per floating-point operation of a kind of operator; per byte for `memory`."""
        work, run = _SAMPLES[kind](dtype, self.device)
        return self.stored(f"{kind}:{dtype}", lambda: self.time(run) / work)

    def _overhead(self) -> float:
        """Seconds between two operators: of a small model, what its operators alone do not take."""
        return self.stored("overhead", self._measure_overhead)

    def _measure_overhead(self) -> float:
        layer = torch.nn.TransformerEncoderLayer(32, 2, 64, batch_first=True, norm_first=True).to(self.device)
        model, tokens = torch.nn.Sequential(*[layer] * 4), torch.zeros(1, 8, 32, device=self.device)
        with torch.no_grad(), LiveStorageCounter(with_calls=True) as counter:
            counter.ignore(model.parameters())
            model(tokens)
        with torch.no_grad():
            entire = self.time(lambda: model(tokens))
        alone = sum(count * self._seconds_of(call) for call, count in counter.calls.items())
        return max(0.0, entire - alone) / sum(counter.calls.values())


def open_calibration(device: torch.device) -> Calibration:
    """The machine's, with what earlier plans have measured."""
    return Calibration(device, DiskCache(OPERATORS))


def machine_key(device: torch.device) -> str:
    """A name for this machine, device, and number of threads."""
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    facts = (platform.node(), platform.machine(), kind, device.type, torch.__version__, torch.get_num_threads())
    return hashlib.blake2b(repr(facts).encode(), digest_size=12).hexdigest()


def _name_of(call: OperatorCall) -> str:
    text = repr((str(call.operator), call.arguments, call.keywords))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _fastest(run: Callable[[], object], device: torch.device, clock: Callable[[], float]) -> float:
    """Seconds of the fastest of a few runs, each long enough to be timed."""
    run()
    _wait(device)
    started = clock()
    run()
    _wait(device)
    once = max(clock() - started, 1e-7)
    # an accelerator computes while the next is launched; on a CPU, other programs disturb some of the runs
    repeats = 1 if device.type == "cpu" else max(1, min(200, round(_LEAST_S / once)))
    best = once
    for _ in range(max(_RUNS, min(_MOST_RUNS, round(_LEAST_S / (once * repeats))))):
        started = clock()
        for _ in range(repeats):
            run()
        _wait(device)
        best = min(best, (clock() - started) / repeats)
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _with_values(call: OperatorCall, device: torch.device) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a call, its tensors filled with random values."""

    def fill(part: TensorShape) -> torch.Tensor:
        tensor = torch.empty_strided(part.shape, part.stride, dtype=part.dtype, device=device)
        if part.dtype.is_floating_point:
            return tensor.normal_() if 0 not in part.stride else tensor.copy_(torch.ones((), device=device))
        return tensor.fill_(1) if part.dtype is torch.bool else tensor.zero_()

    arguments, keywords = tree_map_only(TensorShape, fill, (list(call.arguments), dict(call.keywords)))
    keywords = {name: value for name, value in keywords.items() if name != "device"}
    return [_as_list(argument) for argument in arguments], keywords


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _sample_matmul(dtype: torch.dtype, device: torch.device) -> tuple[float, Callable[[], object]]:
    a = torch.randn(1024, 1024, dtype=dtype, device=device)
    return 2 * 1024**3, lambda: a @ a


def _sample_attention(dtype: torch.dtype, device: torch.device) -> tuple[float, Callable[[], object]]:
    q = torch.randn(1, 4, 2048, 64, dtype=dtype, device=device)
    return 4 * 4 * 2048**2 * 64, lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q)


def _sample_convolution(dtype: torch.dtype, device: torch.device) -> tuple[float, Callable[[], object]]:
    x, w = (torch.randn(*s, dtype=dtype, device=device) for s in ((1, 96, 3, 66, 66), (96, 96, 3, 3, 3)))
    return 2 * 96 * 96 * 27 * 64 * 64, lambda: torch.nn.functional.conv3d(x, w)


def _sample_memory(dtype: torch.dtype, device: torch.device) -> tuple[float, Callable[[], object]]:
    x = torch.randn(16 << 20, dtype=dtype, device=device)
    return 3 * x.numel() * x.element_size(), lambda: x + x


_SAMPLES = {
    "matmul": _sample_matmul,
    "attention": _sample_attention,
    "convolution": _sample_convolution,
    "memory": _sample_memory,
}
