"""`SparseAttention`: what is promised, or which knobs are turned. Frozen, checked when made."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from videogen.core.errors import InputError, unknown

ORDERS = ("raster", "tile")
AUDITS = ("sampled", "full", "off")
#: The rows of `kernels.table`, which this file, free of torch, cannot read.
BACKENDS = ("auto", "triton", "flex", "torch")

_KINDS: dict[tuple[type, ...], tuple[str, ...]] = {
    (int, float): ("recall", "sparsity", "dense_steps"),
    (int,): ("query_block", "key_block", "rows", "audit_rows", "min_length"),
    (bool,): ("window", "tail", "first_frame"),
    (str,): ("order", "audit", "backend"),
}
_OPTIONAL = ("recall", "sparsity", "query_block", "rows", "audit_rows")


@dataclass(frozen=True)
class SparseAttention:
    """How long self-attention is made sparse. The default promises a recall; with `sparsity` it is AdaSpa as published.

    recall: share of the softmax mass that every head keeps at every step, in (0, 1]; held by an audit of random rows,
    which at any one call errs in no head with a probability of 99 %.
    sparsity: share of the blocks that are dropped, in [0, 1), instead of a recall.
    window: with `sparsity`, a fixed band of neighbouring blocks instead of a search (a yardstick).
    dense_steps: steps at the beginning that stay dense; search_at: when AdaSpa searches. Both as shares of all steps
    (AdaSpa's 10 and {10, 30} of 50).
    query_block, key_block: tokens, powers of two; query_block None: what the device is fastest with.
    order: `raster` (AdaSpa) or `tile`, 4x4x4 cubes of tokens, which needs the video's token grid.
    rows: query rows a block that the search samples, None for all of them. audit: `sampled`, `off`, or `full`, which
    computes dense attention beside the sparse one to measure the recall exactly. audit_rows: random rows of a head;
    None for as many as showing the recall takes.
    tail: add each dropped block by its mean key and value (Sol-Attn's zeroth-order term) instead of leaving it out.
    min_length: shorter sequences stay dense. first_frame: every token sees the first frame.
    backend: a kernel's name, or `auto`.
    """

    recall: float | None = 0.95
    sparsity: float | None = None
    window: bool = False
    dense_steps: float = 0.0
    search_at: Sequence[float] = (0.2, 0.6)
    query_block: int | None = None
    key_block: int = 64
    order: str = "raster"
    rows: int | None = 4
    audit: str = "sampled"
    audit_rows: int | None = None
    tail: bool = False
    min_length: int = 4096
    first_frame: bool = False
    backend: str = "auto"

    def __post_init__(self) -> None:
        self._check_types()
        if (self.recall is None) == (self.sparsity is None):
            raise InputError(f"recall={self.recall}, sparsity={self.sparsity}: promise one of the two")
        if self.recall is not None and not 0 < self.recall <= 1:
            raise InputError(f"recall={self.recall} must be above 0 and at most 1, such as 0.95")
        if self.sparsity is not None and not 0 <= self.sparsity < 1:
            raise InputError(f"sparsity={self.sparsity} must be from 0 to below 1, such as 0.8")
        if self.window and self.sparsity is None:
            raise InputError("window=True needs a sparsity: a fixed window promises no recall")
        if not all(0 <= share <= 1 for share in (self.dense_steps, *self.search_at)):
            raise InputError(
                f"dense_steps={self.dense_steps}, search_at={tuple(self.search_at)} are shares of all steps, from 0 to 1"
            )
        if self.order not in ORDERS:
            raise InputError(f"order={self.order!r} is unknown; use {' or '.join(ORDERS)}")
        if self.audit not in AUDITS:
            raise InputError(f"audit={self.audit!r} is unknown; use {', '.join(AUDITS)}")
        if self.audit_rows == 1 or min(self.audit_rows or 2, self.min_length, self.rows or 1) < 1:
            raise InputError(
                f"audit_rows={self.audit_rows} must be 2 or more, rows={self.rows} and min_length={self.min_length} above 0"
            )
        check_block("key_block", self.key_block)
        if self.query_block is not None:
            check_block("query_block", self.query_block)
            if self.rows is not None and self.rows > self.query_block:
                raise InputError(
                    f"rows={self.rows} must be from 1 to the {self.query_block} of a query block, or None for all"
                )
        if self.backend not in BACKENDS:
            raise unknown("attention backend", self.backend, BACKENDS)

    def _check_types(self) -> None:
        if isinstance(self.search_at, list):
            object.__setattr__(self, "search_at", tuple(self.search_at))
        if not isinstance(self.search_at, tuple) or not self.search_at:
            raise InputError(
                f"search_at={self.search_at!r} must name at least one share of the steps, such as (0.2, 0.6)"
            )
        for kinds, names in _KINDS.items():
            for name in names:
                _check_type(name, getattr(self, name), kinds)
        for share in self.search_at:
            _check_type("search_at", share, (int, float))

    @classmethod
    def adaspa(cls, sparsity: float = 0.8, **options: object) -> SparseAttention:
        """AdaSpa (arXiv 2502.21079) as published: blocks of 64, the first fifth dense, searches at 1/5 and 3/5 of the
        steps."""
        published = {"query_block": 64, "key_block": 64, "dense_steps": 0.2, "rows": None, "audit": "off"}
        return cls(recall=None, sparsity=sparsity, **{**published, **options})  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SparseAttention:
        """From a configuration file or manifest; an unknown key is an error that names the nearest."""
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                raise unknown("attention key", key, known)
        if values.get("sparsity") is not None:
            values = {"recall": None, **values}
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(f"attention={values} cannot be used: {error}") from error

    @classmethod
    def parse(cls, text: str, recall: float | None = None) -> SparseAttention | None:
        """From the command line's words: `dense` (None), `adaptive`, `adaspa:0.8`, `window:0.8`."""
        if recall is not None and text != "adaptive":
            raise InputError(f"recall={recall} is for attention 'adaptive', not {text!r}")
        if text == "dense":
            return None
        if text == "adaptive":
            return cls(recall=0.95 if recall is None else recall)
        match = re.fullmatch(r"(adaspa|window)(?::([0-9.]+))?", text)
        try:
            sparsity = float(match[2] or 0.8) if match else -1.0
        except ValueError:
            match = None
        if match is None:
            raise InputError(
                f"attention {text!r} is unknown; use dense, adaptive, adaspa:SPARSITY or window:SPARSITY, such as adaspa:0.8"
            )
        return (
            cls.adaspa(sparsity)
            if match[1] == "adaspa"
            else cls(recall=None, sparsity=sparsity, window=True, audit="off")
        )


def _check_type(name: str, value: object, kinds: tuple[type, ...]) -> None:
    if value is None and name in _OPTIONAL:
        return
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise InputError(
            f"{name}={value!r} must be {' or '.join(kind.__name__ for kind in kinds)}, not {type(value).__name__}"
        )


def check_block(name: str, block: int) -> int:
    """The block, if it is a power of two; InputError otherwise."""
    if not isinstance(block, int) or isinstance(block, bool) or block < 1 or block & (block - 1):
        raise InputError(f"{name}={block} must be a power of two, such as 64")
    return block
