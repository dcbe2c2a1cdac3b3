"""Which attention backends work here: each is called on a tiny input and compared with plain attention.

An import that succeeds proves nothing: wheels lack kernels for a GPU, a dtype or a head size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from videogen.core.errors import UnsupportedError

from .dense import DENSE, DenseCase, choose_dense, dense_reasons
from .table import KERNELS, Case, Kernel, choose

_TOLERANCE = 2e-2  # of values near 1, in half precision


@dataclass(frozen=True)
class BackendReport:
    """A backend's name, whether a call gave the correct result, and the reason if not (or what was called)."""

    name: str
    available: bool
    reason: str


def probe_backends() -> list[BackendReport]:
    """Try every backend on the best device: half precision on CUDA, fp32 on a CPU. lse-: dense ones that also give the
    log-sum-exp that searches and audits need; the first of them is used."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, 64, 64, generator=generator).to(device, dtype) for _ in range(3))
    expected = torch.softmax(q.float() @ k.float().mT / 8, -1) @ v.float()
    return [_try(name, call, (q, k, v), expected) for name, call in _CALLS.items()]


def chosen_kernels() -> dict[str, str]:
    """Which kernel runs calls of usual shapes on the best device: dense ones, those that also give a log-sum-exp, and
    block-sparse ones."""
    import torch

    from videogen.attention.blockmap import BlockMap

    from .watch import sdpa_kernel_name

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    q = torch.zeros(1, 2, 256, 64, device=device, dtype=dtype)
    block_map = BlockMap.full(1, 2, query_block=128, key_block=64, length=256, device=q.device)
    return {
        "dense": sdpa_kernel_name({"query": q, "key": q, "value": q}),
        "dense with log-sum-exp": f"lse-{choose_dense(DenseCase.from_tensors(q, q, None))}",
        "block-sparse": f"sparse-{choose(Case.from_tensors(q, q, block_map, None)).name}",
    }


def _try(name: str, call: Callable, qkv: tuple, expected) -> BackendReport:  # type: ignore[type-arg, no-untyped-def]
    query = qkv[0]
    try:
        result = call(*qkv)
    except ImportError as error:
        return BackendReport(name, False, str(error).splitlines()[0])
    except UnsupportedError as error:
        return BackendReport(name, False, str(error))
    except Exception as error:  # a backend may fail in any way, which is what is probed
        lines = str(error).strip().splitlines()
        return BackendReport(name, False, f"{type(error).__name__}: {lines[0][:110] if lines else 'no message'}")
    worst = float((result.float() - expected).abs().max())
    if not worst < _TOLERANCE:
        return BackendReport(name, False, f"wrong result: maximum error {worst:.3g} against plain attention")
    return BackendReport(
        name, True, f"{query.device.type}, {str(query.dtype).removeprefix('torch.')}, maximum error {worst:.1e}"
    )


def _sdpa(kind: str) -> Callable:  # type: ignore[type-arg]
    def call(q, k, v):  # type: ignore[no-untyped-def]
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.nn.functional import scaled_dot_product_attention

        with sdpa_kernel(getattr(SDPBackend, kind)):
            return scaled_dot_product_attention(q, k, v)

    return call


def _flex(q, k, v):  # type: ignore[no-untyped-def]
    from torch.nn.attention.flex_attention import flex_attention

    return flex_attention(q, k, v)


def _flash_attn(q, k, v):  # type: ignore[no-untyped-def]
    from .flash import flash_attn

    return flash_attn(q, k, v, q.shape[-1] ** -0.5)[0]


def _xformers(q, k, v):  # type: ignore[no-untyped-def]
    from .xformers_dense import missing, xformers_attention

    if reason := missing():
        raise ImportError(reason)
    return xformers_attention(q, k, v, q.shape[-1] ** -0.5)[0]


def _sparse(kernel: Kernel) -> Callable:  # type: ignore[type-arg]
    def call(q, k, v):  # type: ignore[no-untyped-def]
        from videogen.attention.blockmap import BlockMap

        block_map = BlockMap.full(*q.shape[:2], query_block=64, key_block=64, length=q.shape[2], device=q.device)
        if reason := kernel.refuses(Case.from_tensors(q, v, block_map, None)):
            raise UnsupportedError(reason)
        return kernel.load()(q, k, v, block_map)[0]

    return call


def _dense(name: str) -> Callable:  # type: ignore[type-arg]
    def call(q, k, v):  # type: ignore[no-untyped-def]
        reason = None
        for bias in (None, q.new_zeros(1, 1, 1, k.shape[2])):  # one of them is for masks alone
            if not (reason := dense_reasons(DenseCase.from_tensors(q, v, bias))[name]):
                return DENSE[name][0](q, k, v, bias, q.shape[-1] ** -0.5)[0]
        raise UnsupportedError(reason)

    return call


_CALLS: dict[str, Callable] = {  # type: ignore[type-arg]
    "sdpa-math": _sdpa("MATH"),
    "sdpa-flash": _sdpa("FLASH_ATTENTION"),
    "sdpa-efficient": _sdpa("EFFICIENT_ATTENTION"),
    "sdpa-cudnn": _sdpa("CUDNN_ATTENTION"),
    "flex": _flex,
    "flash-attn": _flash_attn,
    "xformers": _xformers,
    **{f"sparse-{kernel.name}": _sparse(kernel) for kernel in KERNELS},
    **{f"lse-{name}": _dense(name) for name in DENSE},
}
