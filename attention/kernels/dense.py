"""Dense attention that also gives the log-sum-exp of each row. The sparse kernels and the search are built on it.

The best fused kernel of each device that returns one, and plain fp32 arithmetic elsewhere. `DENSE` lists them, with a
function that gives the reason why a kernel cannot take a call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from videogen.attention.blockmap import BlockMap

from . import flash, xformers_dense
from .triton_support import has_triton
from .validation import Call
from .watch import Compute, current_watch

_AT = torch.ops.aten
_SCORES_BYTES = 256 << 20


def attention_with_lse(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: float | None = None,
    key_mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention over [b, h, l, d]: (out as `query`, lse fp32 [b, h, l], natural logarithm).

    key and value may have fewer heads than query (GQA). key_mask: bool [b, keys], False for padding.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (x.repeat_interleave(groups, 1) for x in (key, value))
    bias = None
    if key_mask is not None:
        bias = torch.zeros(key_mask.shape, dtype=query.dtype, device=query.device).masked_fill_(~key_mask, -torch.inf)
        bias = bias[:, None, None, :]
    case = DenseCase.from_tensors(query, value, bias)
    name, watch = choose_dense(case), current_watch()
    if watch is None:
        return DENSE[name][0](query, key, value, bias, scale)

    def computed_by(name: str) -> Compute:
        return lambda: DENSE[name][0](query, key, value, bias, scale)

    others = [(f"lse-{other}", computed_by(other)) for other, why in dense_reasons(case).items() if why is None]
    return watch.run(f"lse-{name}", Call(query, key, value, bias, scale=scale), computed_by(name), others)


@dataclass(frozen=True)
class DenseCase:
    """What a dense call needs of a kernel. capability: of a CUDA device, (9, 0) on Hopper; (0, 0) elsewhere."""

    device: str
    capability: tuple[int, int]
    dtype: torch.dtype
    head_dim: int
    value_dim: int
    bias: bool

    @classmethod
    def from_tensors(cls, query: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None) -> DenseCase:
        capability = torch.cuda.get_device_capability(query.device) if query.device.type == "cuda" else (0, 0)
        return cls(query.device.type, capability, query.dtype, query.shape[-1], value.shape[-1], bias is not None)


def choose_dense(case: DenseCase) -> str:
    """The name of the first kernel of `DENSE` that can take a call."""
    return next(name for name, (_, refuses) in DENSE.items() if refuses(case) is None)


def dense_reasons(case: DenseCase) -> dict[str, str | None]:
    """For each kernel, why it cannot take the call; None where it can."""
    return {name: refuses(case) for name, (_, refuses) in DENSE.items()}


def _refuses_cpu(case: DenseCase) -> str | None:
    if case.device != "cpu":
        return f"it is for a CPU, the tensors are on {case.device}"
    if case.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"{case.dtype} is not float32, bfloat16 or float16"
    return _uneven(case)


def _refuses_cuda(case: DenseCase) -> str | None:
    if case.device != "cuda":
        return f"it needs CUDA, the tensors are on {case.device}"
    if case.bias:
        return "it takes no key mask"
    return None


def _refuses_flash(case: DenseCase) -> str | None:
    if reason := _refuses_cuda(case) or _uneven(case):
        return reason
    if case.dtype not in (torch.bfloat16, torch.float16):
        return f"{case.dtype} is not bfloat16 or float16"
    if case.capability < (8, 0):
        return f"it needs compute capability 8.0, this device has {'.'.join(map(str, case.capability))}"
    return (
        None
        if case.head_dim % 8 == 0 and case.head_dim <= 256
        else f"head dim {case.head_dim} is not a multiple of 8 up to 256"
    )


def _refuses_xformers(case: DenseCase) -> str | None:
    if reason := _refuses_cuda(case) or xformers_dense.missing():
        return reason
    return None if case.dtype != torch.float64 else "float64 is not supported"


def _refuses_masked(case: DenseCase) -> str | None:
    if case.device != "cuda" or not case.bias:
        return "it is for key masks on CUDA"
    if not has_triton():
        return "triton is not installed"
    return _refuses_flash(replace(case, bias=False))


def _uneven(case: DenseCase) -> str | None:
    return None if case.head_dim == case.value_dim else f"head dims {case.head_dim} and {case.value_dim} must be equal"


def _cpu_flash(query, key, value, bias, scale):  # type: ignore[no-untyped-def]
    return _AT._scaled_dot_product_flash_attention_for_cpu(query, key, value, attn_mask=bias, scale=scale)


def _cuda_flash(query, key, value, bias, scale):  # type: ignore[no-untyped-def]
    return _AT._scaled_dot_product_flash_attention(query, key, value, scale=scale)[:2]


def _masked(query, key, value, bias, scale):  # type: ignore[no-untyped-def]
    from .triton_blocks import triton_attention

    full = BlockMap.full(
        *query.shape[:2], query_block=128, key_block=64, length=(query.shape[2], key.shape[2]), device=query.device
    )
    return triton_attention(query, key, value, full, scale=scale, key_mask=bias[:, 0, 0] == 0)


def _math(query, key, value, bias, scale):  # type: ignore[no-untyped-def]
    """A limited number of query rows at a time, so that the scores never take more than `_SCORES_BYTES`."""
    wide = torch.float64 if query.dtype == torch.float64 else torch.float32
    keys, values = key.to(wide).mT, value.to(wide)
    row_bytes = query.shape[0] * query.shape[1] * key.shape[2] * wide.itemsize
    parts = [
        _attend_rows(q.to(wide) * scale, keys, values, bias) for q in query.split(max(1, _SCORES_BYTES // row_bytes), 2)
    ]
    out, lse = (torch.cat(side, 2) for side in zip(*parts, strict=True))
    return out.to(query.dtype), lse


def _attend_rows(query, keys, values, bias):  # type: ignore[no-untyped-def]
    scores = query @ keys
    if bias is not None:
        scores += bias
    lse = scores.logsumexp(-1)
    visible = lse != -torch.inf
    return (scores - torch.where(visible, lse, 0.0).unsqueeze(-1)).exp_() @ values, lse


#: The dense kernels that give a log-sum-exp, best first: (query, key, value, bias, scale) -> (out, lse), and the reason
#: why it cannot take a call.
DENSE: dict[str, tuple[Callable[..., tuple[torch.Tensor, torch.Tensor]], Callable[[DenseCase], str | None]]] = {
    "cpu-flash": (_cpu_flash, _refuses_cpu),
    "flash-attn": (
        lambda q, k, v, bias, scale: flash.flash_attn(q, k, v, scale),
        lambda case: flash.missing() or _refuses_flash(case),
    ),
    "cuda-flash": (_cuda_flash, _refuses_flash),
    "xformers": (lambda q, k, v, bias, scale: xformers_dense.xformers_attention(q, k, v, scale), _refuses_xformers),
    "triton": (_masked, _refuses_masked),
    "math": (_math, lambda case: None),
}
