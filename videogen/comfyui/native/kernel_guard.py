"""Kernel Guard: the attention kernel of a run, compared with a reference at the run's own shapes, before step 2.

A kernel that imports and runs may be wrong for one head size, dtype or length, and the clip is then noise. Here calls
of attention are checked as they are made, whatever computes them: ComfyUI's kernel or another node pack's override.
Sampled rows of a few heads are computed again in fp32, for each layer in the first evaluation, and later for shapes
that have not come before. Results are only read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from videogen.attention.kernels.validation import Call, find_non_finite
from videogen.attention.kernels.watch import describe
from videogen.core.errors import NumericsError

from ..hooks.attention_call import AttentionCall
from ..hooks.attention_override import AttentionOverride
from ..hooks.model_runs import APPLY_MODEL, DIFFUSION_MODEL, RunContext, Wrapper, find_options
from .call_sample import CallSample

KEY = "videogen_kernel_guard"
STOP, WARN = "stop", "warn"
_log = logging.getLogger(__name__)


@dataclass
class KernelCheck:
    """What was found of one kernel. error: the largest one of a call, relative to the reference; fault: what is wrong,
    empty for a kernel that is right or of low precision; shape: of the call with that error."""

    kernel: str
    calls: int = 0
    error: float = 0.0
    shape: str = ""
    fault: str = ""
    is_imprecise: bool = False


@dataclass
class GuardedRun:
    """State of one sampling run. Implements `model_runs.ModelRun`. action: `stop` or `warn`, for a wrong kernel;
    input_fault: what is wrong in the inputs of attention, while no kernel is; empty for finite ones."""

    context: RunContext
    action: str
    checks: dict[str, KernelCheck] = field(default_factory=dict)
    input_fault: str = ""

    def __post_init__(self) -> None:
        self._override = AttentionOverride(self._attend, approximate=False)
        self._shapes: set[object] = set()
        self._evaluations = self._depth = 0
        self._number = 0  # of calls within the evaluation

    def wrappers(self) -> Mapping[str, Wrapper]:
        return {APPLY_MODEL: self._call, DIFFUSION_MODEL: self._call}

    def report(self) -> dict[str, Any]:
        """kernels: what was found of each that was compared; inputs: the fault of the inputs."""
        return {"kernels": [vars(check) for check in self.checks.values()], "inputs": self.input_fault}

    def close(self) -> None:
        self._shapes.clear()

    def _call(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        with self._evaluation(), self._override.installed(find_options(args, kwargs)):
            return executor(*args, **kwargs)

    @contextmanager
    def _evaluation(self) -> Iterator[None]:
        """Count evaluations, of which each enters here once or twice."""
        self._depth += 1
        self._number = 0
        try:
            yield
        finally:
            self._depth -= 1
            self._evaluations += not self._depth

    def _attend(self, func: Callable[..., Any], q: Any, k: Any, v: Any, heads: int, *args: Any, **kwargs: Any) -> Any:
        self._number += 1
        kernel = self._override.name_of(func)
        key = (kernel, q.dtype, q.shape, k.shape, heads, (args[0] if args else kwargs.get("mask")) is None)
        if self._evaluations and key in self._shapes:
            return func(q, k, v, heads, *args, **kwargs)
        read = AttentionCall.read(q, k, v, heads, *args, **kwargs)
        call = Call(read.query, read.key, read.value, read.mask, scale=read.scale)
        if not _is_comparable(call):
            return func(q, k, v, heads, *args, **kwargs)
        self._shapes.add(key)
        sample = CallSample.draw(call, self._number)
        is_finite = self._check_inputs(sample.call, call)
        out = func(q, k, v, heads, *args, **kwargs)
        if is_finite:  # otherwise there is nothing to compare with
            self._check(kernel, sample, call, read.result_as_heads(out))
        return out

    def _check(self, kernel: str, sample: CallSample, call: Call, out: torch.Tensor) -> None:
        check = self.checks.setdefault(kernel, KernelCheck(kernel))
        verdict = sample.compare(out)
        check.calls += 1
        if not verdict.error <= check.error:
            check.error, check.shape = verdict.error, describe(call)
        if verdict.is_imprecise:
            self._note_precision(check, verdict.error)
        if not verdict.why or verdict.is_imprecise:
            return
        message = f"the attention kernel {kernel!r} is wrong for {describe(call)}: {verdict.why}; {self._advise()}"
        if not check.fault:
            check.fault = message
            _log.warning("%s", message)
        if self.action == STOP:
            raise NumericsError(f"{message}. With when_wrong=warn, Kernel Guard lets the run continue")

    def _note_precision(self, check: KernelCheck, error: float) -> None:
        if not check.is_imprecise:
            _log.warning("the attention kernel %r is of low precision: relative error %.2g", check.kernel, error)
        check.is_imprecise = True

    def _advise(self) -> str:
        if self._override.found:
            return "bypass the node that set it, or update its package"
        return "start ComfyUI with --use-pytorch-cross-attention, or update the kernel's package"

    def _check_inputs(self, part: Call, full: Call) -> bool:
        """Whether they are finite."""
        names = find_non_finite(part)
        if not names:
            return True
        message = (
            f"NaN or Inf in the {' and '.join(names)} of attention ({describe(full)}), before the kernel: the model's "
            "dtype overflows or its file is damaged; use bf16 or fp32, or download it again"
        )
        if self.action == STOP:
            raise NumericsError(message)
        if not self.input_fault and not any(check.fault for check in self.checks.values()):
            self.input_fault = message  # of the first layer; all behind it have the same
            _log.warning("%s", message)
        return False


def describe_checks(report: dict[str, Any]) -> Iterator[str]:
    """Lines of text."""
    if report["inputs"]:
        yield f"kernel guard: {report['inputs']}"
    for check in report["kernels"]:
        name, error = check["kernel"], f"{check['error']:.2g} at {check['shape']}"
        if check["fault"]:
            yield f"kernel guard: {check['fault']}"
        elif check["is_imprecise"]:
            yield f"kernel guard: {name} is of low precision, with a relative error of {error}"
        else:
            yield f"kernel guard: {name} is right, with a relative error of {error} ({check['calls']} calls compared)"


def _is_comparable(call: Call) -> bool:
    """Whether a reference can be made of a call: plain tensors of floats, and a mask of numbers or bool."""
    tensors = (call.query, call.key, call.value)
    plain = all(
        type(x) in (torch.Tensor, torch.nn.Parameter) and x.ndim == 4 and x.is_floating_point() for x in tensors
    )
    mask = call.mask
    return plain and bool(call.query.numel()) and (mask is None or mask.is_floating_point() or mask.dtype == torch.bool)
