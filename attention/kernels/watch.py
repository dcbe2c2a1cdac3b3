"""Watch over the attention kernels of a run: which kernel ran each call, and that each is right at the run's shapes.

The first call of a kernel at a new shape, dtype or layout is compared with its reference (`validation`). A wrong kernel
is reported once and replaced: by the next one that is right, or by plain arithmetic; in a strict run it is an error.
Hosts (`attention.watching`) make a watch the current one while a model runs; kernels ask for it here.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from videogen.core.errors import NumericsError, VideogenError

from .validation import Call, Fault, find_fault, find_non_finite, reference_attention

_log = logging.getLogger("videogen.attention")
T = TypeVar("T")
#: A kernel's result: out, and lse where it gives one.
Result = tuple[torch.Tensor, Any]
Compute = Callable[[], Result]
#: plain arithmetic
REFERENCE = "reference"
_SDPA = torch.nn.functional.scaled_dot_product_attention
_PARAMETERS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
#: Kernels of `scaled_dot_product_attention`, by the name of torch's backend.
_BACKENDS = {
    "MATH": "sdpa-math", "FLASH_ATTENTION": "sdpa-flash", "EFFICIENT_ATTENTION": "sdpa-efficient",
    "CUDNN_ATTENTION": "sdpa-cudnn",
}  # fmt: skip
_current: ContextVar[KernelWatch | None] = ContextVar("kernel_watch", default=None)


@dataclass(frozen=True)
class Verdict:
    """Of one kernel at one shape. why: what is wrong, empty where nothing is; replacement: what runs instead."""

    kernel: str
    shape: str
    why: str = ""
    replacement: str = ""

    def to_dict(self) -> dict[str, str]:
        return {"kernel": self.kernel, "shape": self.shape, "why": self.why, "replaced_by": self.replacement}


@dataclass
class KernelWatch:
    """Counts of a run's calls by kernel, and verdicts by kernel and shape, which several runs of a model share.

    strict: a wrong kernel raises NumericsError instead of being replaced. used: keys of the verdicts of this run. part:
    of the model, for messages; layer: the attention module that runs, empty where it is not known; checks_inputs:
    whether inputs must be finite, which is looked at in each layer's first call.
    """

    verdicts: dict[tuple[object, ...], Verdict] = field(default_factory=dict)
    strict: bool = False
    calls: Counter[str] = field(default_factory=Counter)
    used: set[tuple[object, ...]] = field(default_factory=set)
    part: str = "the model"
    layer: str = ""
    checks_inputs: bool = True

    def run(
        self,
        kernel: str,
        call: Call,
        compute: Compute,
        others: Iterable[tuple[str, Compute]] = (),
        *,
        counts: Counter[str] | None = None,
        precision: float = 0.0,
    ) -> Result:
        """The result of a kernel, or of its replacement where it is wrong.

        others: kernels to try in its place, best first, before plain arithmetic. counts: where the call is counted.
        precision: see `find_fault`. NumericsError in a strict run, and for inputs with NaN or Inf, which a kernel may
        hide.
        """
        others = [*others, (REFERENCE, lambda: reference_attention(call))]
        key, shape = _key(kernel, call), describe(call)
        if self.checks_inputs:
            with unwatched():
                self._check_inputs(call, shape)

        def judge(result: Result) -> Fault | None:
            return find_fault(call, *result, precision=precision)

        return self.run_checked(key, kernel, shape, compute, judge, others, counts=counts)

    def run_checked(
        self,
        key: tuple[object, ...],
        kernel: str,
        shape: str,
        compute: Callable[[], T],
        find: Callable[[T], Fault | None],
        others: Iterable[tuple[str, Callable[[], T]]],
        *,
        counts: Counter[str] | None = None,
    ) -> T:
        """The result of a kernel of any kind, or of the first of `others` that is right where it is wrong.

        key: of what its result may depend on besides values; shape: the same, for messages; find: what is wrong with a
        result, None where nothing is.
        """
        counts = self.calls if counts is None else counts
        verdict = self.verdicts.get(key)
        self.used.add(key)
        with unwatched():
            if verdict is None:
                verdict, result = self._judge(kernel, shape, compute, find, others)
                self.verdicts[key] = verdict
            elif not verdict.replacement:
                result = compute()
            else:
                result = dict(others)[verdict.replacement]()
        counts[verdict.replacement or kernel] += 1
        return result

    def wrong(self) -> list[Verdict]:
        """Of the kernels that were replaced in this run."""
        return [verdict for key, verdict in self.verdicts.items() if verdict.why and key in self.used]

    def report(self) -> dict[str, Any]:
        """calls: by kernel, most first; validated: kernels and shapes that were compared; wrong: what was replaced."""
        return {
            "calls": dict(self.calls.most_common()),
            "validated": len(self.used),
            "wrong": [verdict.to_dict() for verdict in self.wrong()],
        }

    def _check_inputs(self, call: Call, shape: str) -> None:
        names = find_non_finite(call)
        if names:
            is_half = call.query.dtype == torch.float16
            cause = "float16 overflows in many video models: use bfloat16 or float32" if is_half else (
                "the weights may be damaged: copy or download them again"
            )  # fmt: skip
            raise NumericsError(
                f"NaN or Inf in the {' and '.join(names)} of {self.layer or 'an attention layer of ' + self.part} "
                f"({shape}); {cause}"
            )

    def _judge(
        self,
        kernel: str,
        shape: str,
        compute: Callable[[], T],
        find: Callable[[T], Fault | None],
        others: Iterable[tuple[str, Callable[[], T]]],
    ) -> tuple[Verdict, T]:
        try:
            return Verdict(kernel, shape), _check(compute, find)
        except _Wrong as wrong:
            fault = wrong.fault
        message = f"kernel {kernel!r} is wrong for {shape}: {fault}"
        if self.strict:
            raise NumericsError(f"{message}; use another kernel, or leave strict out to have it replaced")
        for name, other in others:
            if name == kernel:
                continue
            with suppress(_Wrong):
                result = _check(other, find)
                self._log_once(kernel, f"{message}; {name!r} is used instead")
                return Verdict(kernel, shape, str(fault), name), result
        raise NumericsError(f"{message}; so are all others; use another device or dtype")

    def _log_once(self, kernel: str, message: str) -> None:
        if not any(verdict.kernel == kernel for verdict in self.wrong()):
            _log.warning("%s", message)


class _Wrong(Exception):
    """A kernel's result is wrong."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def _check(compute: Callable[[], T], find: Callable[[T], Fault | None]) -> T:
    """The result of a kernel. _Wrong where it is wrong, or the kernel raises."""
    try:
        result = compute()
    except (VideogenError, torch.OutOfMemoryError, MemoryError):
        raise
    except RuntimeError as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise _Wrong(Fault(f"it raises {first[:120]!r}", torch.inf)) from error
    if fault := find(result):
        raise _Wrong(fault)
    return result


def current_watch() -> KernelWatch | None:
    """The watch over the calls that are being made; None where there is none."""
    return _current.get()


@contextmanager
def watching(watch: KernelWatch | None) -> Iterator[None]:
    """Make a watch the current one."""
    token = _current.set(watch)
    try:
        yield
    finally:
        _current.reset(token)


def unwatched() -> Any:
    """No watch: calls within a kernel are its own."""
    return watching(None)


def run_sdpa(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], counts: Counter[str] | None = None) -> Any:
    """`func(*args, **kwargs)`, a call of `scaled_dot_product_attention`, under the current watch, if any."""
    watch = current_watch()
    given = {**dict(zip(_PARAMETERS, args, strict=False)), **kwargs}
    if watch is None or not _is_comparable(given):
        return func(*args, **kwargs)
    call = as_call(given)
    others = [(name, _call_backend(backend, func, args, kwargs)) for backend, name in _BACKENDS.items()]
    out, _ = watch.run(sdpa_kernel_name(given), call, lambda: (func(*args, **kwargs), None), others[1:], counts=counts)
    return out


def as_call(given: dict[str, Any]) -> Call:
    """The arguments of `scaled_dot_product_attention`, by name."""
    return Call(
        given["query"], given["key"], given["value"], given.get("attn_mask"), bool(given.get("is_causal")),
        given.get("scale"),
    )  # fmt: skip


def sdpa_kernel_name(given: dict[str, Any]) -> str:
    """Which kernel torch chooses for these arguments, such as `sdpa-flash`."""
    from torch.nn.attention import SDPBackend

    chosen = torch._fused_sdp_choice(  # type: ignore[attr-defined]
        given["query"], given["key"], given["value"], given.get("attn_mask"), given.get("dropout_p") or 0.0,
        bool(given.get("is_causal")), scale=given.get("scale"), enable_gqa=bool(given.get("enable_gqa")),
    )  # fmt: skip
    name = SDPBackend(chosen).name
    return _BACKENDS.get(name, f"sdpa-{name.lower()}")


def describe(call: Call) -> str:
    """A call's shape, such as `bfloat16 [1, 12, 32760, 128] with 512 keys`."""
    query, keys = call.query, call.key.shape[2]
    text = f"{str(query.dtype).removeprefix('torch.')} {list(query.shape)} on {query.device.type}"
    text += f" with {keys} keys" if keys != query.shape[2] else ""
    return text + (" and a mask" if call.mask is not None else "")


def _is_comparable(given: dict[str, Any]) -> bool:
    """Whether a call has the four axes and the plain tensors that a reference is made for, and is not random."""
    tensors = [given["query"], given["key"], given["value"]]
    plain = all(type(x) in (torch.Tensor, torch.nn.Parameter) and x.ndim == 4 for x in tensors)
    mask = given.get("attn_mask")
    plain = plain and (mask is None or (type(mask) is torch.Tensor and mask.ndim in (2, 3, 4)))
    if not plain or given.get("dropout_p"):
        return False
    query, key, value = tensors
    return bool(query.shape[0] == key.shape[0] == value.shape[0] and query.is_floating_point() and query.numel())


def _call_backend(backend: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Compute:
    def compute() -> Result:
        from torch.nn.attention import SDPBackend, sdpa_kernel

        with sdpa_kernel(getattr(SDPBackend, backend)):
            return func(*args, **kwargs), None

    return compute


def _key(kernel: str, call: Call) -> tuple[object, ...]:
    """What a kernel may depend on, besides values."""
    tensors = (call.query, call.key, call.value)
    mask = None if call.mask is None else (call.mask.dtype, tuple(call.mask.shape))
    blocks = None if call.block_map is None else (call.block_map.query_block, call.block_map.key_block)
    layout = tuple((tuple(x.shape), x.is_contiguous(), x.stride(-1) == 1) for x in tensors)
    return (kernel, str(call.query.device), call.query.dtype, layout, mask, call.causal, call.scale, blocks)
