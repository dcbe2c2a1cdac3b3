"""Wrong attention kernels: 40 ways in which a kernel that imports and runs gives a wrong result, as tables of cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from videogen.attention.blockmap import BlockMap

_SDPA = F.scaled_dot_product_attention
Attend = Callable[..., Tensor]


class WrongKernel(TorchFunctionMode):
    """Makes torch's attention wrong for the code in its block. `wrong(attend, q, k, v, **options)` gives the result."""

    def __init__(self, wrong: Attend) -> None:
        super().__init__()
        self._wrong = wrong

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not _SDPA:
            return func(*args, **kwargs)
        names = ("query", "key", "value", "attn_mask")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        return self._wrong(func, *(given.pop(name) for name in names[:3]), **given)


def _changed(change: Callable[[Tensor], Tensor]) -> Attend:
    return lambda attend, q, k, v, **options: change(attend(q, k, v, **options))


def _put(place: tuple[Any, ...], value: float) -> Attend:
    def change(out: Tensor) -> Tensor:
        out = out.clone()
        out[place] = value
        return out

    return _changed(change)


def _scaled(factor: float) -> Attend:
    def wrong(attend: Attend, q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
        return attend(q, k, v, **options | {"scale": factor * q.shape[-1] ** -0.5})

    return wrong


def _keys(choose: Callable[[Tensor], Tensor]) -> Attend:
    """Other keys and values than the given ones."""
    return lambda attend, q, k, v, **options: attend(q, choose(k), choose(v), **options)


def _where(applies: Callable[[Tensor, Tensor], bool]) -> Attend:
    """Twice the result in the calls that it applies to."""

    def wrong(attend: Attend, q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
        out = attend(q, k, v, **options)
        return 2 * out if applies(q, k) else out

    return wrong


def _overflowing(attend: Attend, q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    """Exponentials of scores as they are, without their maximum, in half precision."""
    weights = (4 * q @ k.mT).half().exp()
    return ((weights / weights.sum(-1, keepdim=True)) @ v.half()).to(q.dtype)


def _saturated(attend: Attend, q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    scores = (q @ k.mT * q.shape[-1] ** -0.5).clamp(max=0.5)
    return scores.softmax(-1) @ v


def _coarse(attend: Attend, q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    """Scores in 4 bits."""
    scores = q @ k.mT * q.shape[-1] ** -0.5
    step = scores.abs().amax() / 8
    return ((scores / step).round() * step).softmax(-1) @ v


def _stale_rows(attend: Attend, q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    out = attend(q, k, v, **options)
    count = out.shape[2] % 64 or 16
    return torch.cat([out[:, :, :-count], out[:, :, :count]], 2)


def _raising(attend: Attend, q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    raise RuntimeError("CUDA error: no kernel image is available for execution on the device")


#: id -> a wrong result of torch's function, or of a backend of diffusers, in a model with heads of 24 and 256 tokens
DENSE: dict[str, Attend] = {
    "the scale is 6 % too large": _scaled(1.06),
    "the scale is that of a padded head size": _scaled((24 / 32) ** 0.5),
    "no scale": _scaled(24**0.5),
    "the result is 5 % too large": _changed(lambda out: 1.05 * out),
    "the last row is zero": _put((..., -1, slice(None)), 0.0),
    "the last ragged tile of rows is stale": _stale_rows,
    "the first row is zero": _put((..., 0, slice(None)), 0.0),
    "the last key is left out": _keys(lambda x: x[:, :, :-1]),
    "the last 4 keys are left out": _keys(lambda x: x[:, :, :-4]),
    "the first key is left out": _keys(lambda x: x[:, :, 1:]),
    "a key counts twice": _keys(lambda x: torch.cat([x, x[:, :, -1:]], 2)),
    "padding counts as keys": _keys(lambda x: F.pad(x, (0, 0, 0, 8))),
    "values are of the key before": lambda attend, q, k, v, **options: attend(q, k, v.roll(1, 2), **options),
    "rows are shifted by one": _changed(lambda out: out.roll(1, 2)),
    "heads are swapped": _changed(lambda out: out.roll(1, 1)),
    "the last head is zero": _put((slice(None), -1), 0.0),
    "all heads read the first head's keys": _keys(lambda x: x[:, :1].expand_as(x)),
    "NaN in one row": _put((0, 0, 100), torch.nan),
    "NaN in one number": _put((0, 1, 77, 3), torch.nan),
    "Inf in one number": _put((0, 1, -1, 3), torch.inf),
    "exponentials overflow": _overflowing,
    "scores saturate": _saturated,
    "scores are rounded to 4 bits": _coarse,
    "only beyond 200 tokens": _where(lambda q, k: q.shape[2] > 200),
    "only with fewer than 64 keys": _where(lambda q, k: k.shape[2] < 64),
    "only for head sizes that are no power of two": _where(lambda q, k: bool(q.shape[-1] & (q.shape[-1] - 1))),
    "only for heads that are not contiguous": _where(lambda q, k: not q.is_contiguous()),
    "only in fp32": _where(lambda q, k: q.dtype == torch.float32),
    "rows beyond 200 are those before": _changed(lambda out: torch.cat([out[:, :, :200], out[:, :, :56]], 2)
                                              if out.shape[2] == 256 else out),
    "causal": lambda attend, q, k, v, **options: attend(q, k, v, is_causal=True),
    "the result is uninitialized": _changed(lambda out: torch.full_like(out, 1e30)),
    "the kernel raises": _raising,
    "the result is of another dtype": _changed(lambda out: out.double()),
}  # fmt: skip


@dataclass(frozen=True)
class SparseFault:
    """A wrong block-sparse kernel, or a wrong dense one that gives a log-sum-exp: (right, q, k, v, map) -> result."""

    name: str
    wrong: Callable[..., tuple[Tensor, Tensor]]


def _without_last_block(right: Any, q: Tensor, k: Tensor, v: Tensor, block_map: BlockMap) -> Any:
    counts = (block_map.counts - 1).clamp(min=1)
    shorter = BlockMap(
        block_map.columns, counts, block_map.query_block, block_map.key_block, block_map.query_length,
        block_map.key_length,
    )  # fmt: skip
    return right(q, k, v, shorter)


def _with_maps_of_other_heads(right: Any, q: Tensor, k: Tensor, v: Tensor, block_map: BlockMap) -> Any:
    swapped = BlockMap(
        block_map.columns.roll(1, 1), block_map.counts.roll(1, 1), block_map.query_block, block_map.key_block,
        block_map.query_length, block_map.key_length,
    )  # fmt: skip
    return right(q, k, v, swapped)


def _with_lse(change: Callable[[Tensor], Tensor]) -> Callable[..., tuple[Tensor, Tensor]]:
    def wrong(right: Any, q: Tensor, k: Tensor, v: Tensor, block_map: BlockMap) -> tuple[Tensor, Tensor]:
        out, lse = right(q, k, v, block_map)
        return out, change(lse)

    return wrong


def _full(right: Any, q: Tensor, k: Tensor, v: Tensor, block_map: BlockMap) -> tuple[Tensor, Tensor]:
    full = BlockMap.full(
        *q.shape[:2], query_block=block_map.query_block, key_block=block_map.key_block, length=q.shape[2]
    )
    out, lse = right(q, k, v, full)
    return out, lse


def _with_ragged_padding(right: Any, q: Tensor, k: Tensor, v: Tensor, block_map: BlockMap) -> tuple[Tensor, Tensor]:
    out, lse = right(q, k, v, block_map)
    return out.clone().index_fill_(2, torch.arange(out.shape[2] - 5, out.shape[2]), 0.0), lse


SPARSE = (
    SparseFault("the last block of each row is left out", _without_last_block),
    SparseFault("heads have each other's maps", _with_maps_of_other_heads),
    SparseFault("all blocks are attended to", _full),
    SparseFault("the ragged last rows are zero", _with_ragged_padding),
    SparseFault("the log-sum-exp is base 2", _with_lse(lambda lse: lse * 1.4427)),
    SparseFault("the log-sum-exp of the last rows is missing", _with_lse(lambda lse: F.pad(lse[:, :, :-3], (0, 3)))),
    SparseFault("the log-sum-exp is NaN", _with_lse(lambda lse: torch.full_like(lse, torch.nan))),
)
