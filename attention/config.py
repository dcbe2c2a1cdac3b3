"""`SparseAttention`: the configuration of sparse attention, by its target or by its knobs. Frozen, checked when made.

The policies that it chooses from, and the specs of the command line, are rows of `policies.table`; the backends are
rows of `kernels.table`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from videogen.core.errors import InputError, unknown
from videogen.core.keywords import suggest_keywords

from .kernels.table import backend_names
from .policies.table import ATTENTION_POLICIES, AttentionPolicyRow, first_with_target, parse_spec, policy_row, targets

ORDERS = ("raster", "tile")
AUDITS = ("sampled", "full", "off")
#: The policy of a configuration that names none: the first one with the target that is given.
BY_TARGET = "auto"
#: What earlier versions stored instead of a policy.
_FLAG = "window"

_KINDS: dict[tuple[type, ...], tuple[str, ...]] = {
    (int, float): ("recall", "sparsity", "dense_steps"),
    (int,): ("query_block", "key_block", "rows", "audit_rows", "min_length"),
    (bool,): ("tail", "first_frame"),
    (str,): ("policy", "order", "audit", "backend"),
}
_OPTIONAL = ("recall", "sparsity", "query_block", "rows", "audit_rows")


@suggest_keywords
@dataclass(frozen=True)
class SparseAttention:
    """How long self-attention is made sparse. The default promises a recall of 0.95.

    recall: fraction of the softmax mass that every head retains at every step, in (0, 1], as the mean over its query
    rows; ensured by an audit of random rows, which at any one call errs in no head with a probability of 99 %. Single
    rows may retain less: `rows_below_half` in the report is the fraction of them that retains under half of its mass.
    sparsity: fraction of the blocks that are dropped, in [0, 1), instead of a recall.
    policy: how blocks are chosen, a row of `policies.table`. `auto` (resolved when made): `recall` for a recall,
    `adaspa` for a sparsity. Each policy has one of the two targets, and a default for it.
    dense_steps: steps at the beginning that stay dense; search_at: when AdaSpa searches. Both as fractions of all steps
    (AdaSpa's 10 and {10, 30} of 50).
    query_block, key_block: tokens, powers of two; query_block None: the fastest on the device.
    order: `raster` (AdaSpa) or `tile`, 4x4x4 cubes of tokens, which needs the video's token grid.
    rows: query rows per block that the search samples, None for all of them. audit: `sampled`, `off`, or `full`, which
    computes dense attention as well to measure the recall exactly. audit_rows: random rows per head; None for as many
    as showing the recall takes.
    tail: add each dropped block by its mean key and value (Sol-Attn's zeroth-order term) instead of leaving it out.
    min_length: shorter sequences stay dense, in tokens. first_frame: every token sees the first frame.
    backend: a kernel's name, or `auto`.

    Raises InputError for a field of the wrong type or range, for a policy without its target, or for both targets.
    """

    recall: float | None = None
    sparsity: float | None = None
    policy: str = BY_TARGET
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
        self._resolve_policy()
        if self.recall is not None and not 0 < self.recall <= 1:
            raise InputError(f"recall={self.recall} must be above 0 and at most 1, such as 0.95")
        if self.sparsity is not None and not 0 <= self.sparsity < 1:
            raise InputError(f"sparsity={self.sparsity} must be from 0 to below 1, such as 0.8")
        if not all(0 <= fraction <= 1 for fraction in (self.dense_steps, *self.search_at)):
            raise InputError(
                f"dense_steps={self.dense_steps}, search_at={tuple(self.search_at)} are fractions of all steps, from 0 "
                "to 1"
            )
        if self.order not in ORDERS:
            raise InputError(f"order={self.order!r} is unknown; use {' or '.join(ORDERS)}")
        if self.audit not in AUDITS:
            raise InputError(f"audit={self.audit!r} is unknown; use {', '.join(AUDITS)}")
        if self.backend not in backend_names():
            raise unknown("attention backend", self.backend, backend_names())
        self._check_sizes()

    @property
    def row(self) -> AttentionPolicyRow:
        """The policy's row of the table."""
        return policy_row(self.policy)

    @property
    def target(self) -> dict[str, float]:
        """What is promised: {"recall": ...} or {"sparsity": ...}."""
        return {self.row.target: getattr(self, self.row.target)}

    @property
    def needs_steps(self) -> bool:
        """Whether the number of a run's steps must be known."""
        return self.dense_steps > 0 or self.row.needs_steps

    def _resolve_policy(self) -> None:
        """Name the policy, and fill in its target's default where none is given."""
        given = [name for name in targets() if getattr(self, name) is not None]
        if len(given) > 1:
            both = ", ".join(f"{name}={getattr(self, name)}" for name in given)
            raise InputError(f"{both}: promise one of the two")
        row = ATTENTION_POLICIES[0] if not given else first_with_target(given[0])
        if self.policy != BY_TARGET:
            row = policy_row(self.policy)
        if given and given[0] != row.target:
            raise InputError(
                f"policy={row.name!r} promises no {given[0]}, and {given[0]}={getattr(self, given[0])} is given; "
                f"give {row.target} instead"
            )
        object.__setattr__(self, "policy", row.name)
        if not given:
            object.__setattr__(self, row.target, row.default)

    def _check_sizes(self) -> None:
        if self.audit_rows == 1 or min(self.audit_rows or 2, self.min_length, self.rows or 1) < 1:
            raise InputError(
                f"audit_rows={self.audit_rows} must be 2 or more, rows={self.rows} and min_length={self.min_length} "
                "above 0"
            )
        check_block("key_block", self.key_block)
        if self.query_block is not None:
            check_block("query_block", self.query_block)
            if self.rows is not None and self.rows > self.query_block:
                raise InputError(
                    f"rows={self.rows} must be from 1 to the {self.query_block} of a query block, or None for all"
                )

    def _check_types(self) -> None:
        if isinstance(self.search_at, list):
            object.__setattr__(self, "search_at", tuple(self.search_at))
        if not isinstance(self.search_at, tuple) or not self.search_at:
            raise InputError(
                f"search_at={self.search_at!r} must name at least one fraction of the steps, such as (0.2, 0.6)"
            )
        for kinds, names in _KINDS.items():
            for name in names:
                _check_type(name, getattr(self, name), kinds)
        for fraction in self.search_at:
            _check_type("search_at", fraction, (int, float))

    @classmethod
    def from_policy(cls, name: str, target: float | None = None, **options: Any) -> SparseAttention:
        """A policy with its preset. target: its recall or sparsity, None for the default; options: any other fields."""
        row = policy_row(name)
        return cls(**{"policy": name, row.target: target, **row.preset, **options})

    @classmethod
    def adaspa(cls, sparsity: float = 0.8, **options: Any) -> SparseAttention:
        """AdaSpa (arXiv 2502.21079) as published: blocks of 64, the first fifth dense, searches at 1/5 and 3/5 of the
        steps."""
        return cls.from_policy("adaspa", sparsity, **options)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SparseAttention:
        """From a configuration file or manifest, also of versions without `policy`. InputError that names the nearest
        key for an unknown key."""
        values = with_policy(values)
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                raise unknown("attention key", key, known)
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(f"attention={values} cannot be used: {error}") from error

    @classmethod
    def parse(cls, spec: str, recall: float | None = None) -> SparseAttention | None:
        """From a spec of the command line, a form in `policies.table`, such as `adaptive` or `adaspa:0.8`. None for
        `dense`. recall: for the policies that promise one. Raises InputError."""
        row, number = parse_spec(spec)
        if recall is not None and (row is None or row.target != "recall" or number is not None):
            able = " or ".join(repr(row.keyword) for row in ATTENTION_POLICIES if row.target == "recall")
            raise InputError(f"recall={recall} is for attention {able}, not {spec!r}")
        return None if row is None else cls.from_policy(row.name, number if recall is None else recall)


def with_policy(values: dict[str, Any]) -> dict[str, Any]:
    """A stored configuration under today's keys: `window=True` of earlier versions is the policy `window`."""
    if _FLAG not in values:
        return values
    values = dict(values)
    window = values.pop(_FLAG)
    _check_type(_FLAG, window, (bool,))
    if "policy" not in values:
        given = next((name for name in targets() if values.get(name) is not None), targets()[0])
        if window and given != policy_row(_FLAG).target:
            raise InputError(f"window={window} needs a sparsity: a fixed window promises no {given}")
        values["policy"] = _FLAG if window else first_with_target(given).name
    return values


def without_policy(values: dict[str, Any]) -> dict[str, Any]:
    """The configuration as versions without `policy` stored it; unchanged where these had none like it."""
    earlier = {name: value for name, value in values.items() if name != "policy"}
    earlier[_FLAG] = values.get("policy") == _FLAG
    return earlier if with_policy(earlier) == values else values


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
