"""Table of attention policies: names, specs, targets and where each one is implemented.

A policy is a row here and a file next to it, which implements `base.AttentionPolicy`. Configurations, the spec parser,
the command line's help and the contract tests read this table, and nothing else compares policies by name. No torch is
imported before a policy is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from videogen.core.errors import InputError, nearest, unknown
from videogen.core.lazy import load_object

if TYPE_CHECKING:
    from .base import AttentionPolicy

#: The spec of attention without any policy.
DENSE = "dense"


@dataclass(frozen=True)
class AttentionPolicyRow:
    """A policy.

    home: `module:Class` of this package, or `package.module:Class`. target: the field of `SparseAttention` that states
    its goal; default: the target's value where none is given. spec: its form on the command line, a keyword or
    `keyword:TARGET`. preset: fields that `SparseAttention.from_policy` sets. needs_steps: whether it must know how many
    steps a run has.
    """

    name: str
    description: str
    home: str
    target: str
    default: float
    spec: str
    preset: Mapping[str, Any] = field(default_factory=dict)
    needs_steps: bool = False

    @property
    def keyword(self) -> str:
        return self.spec.partition(":")[0]

    def load(self) -> type[AttentionPolicy[Any]]:
        """The policy's class."""
        return load_object(self.home, __package__)  # type: ignore[no-any-return]


ATTENTION_POLICIES = (
    AttentionPolicyRow(
        "recall",
        "the cheapest block map that keeps the target recall in every head, audited at every call",
        home="recall:RecallPolicy",
        target="recall",
        default=0.95,
        spec="adaptive",
    ),
    AttentionPolicyRow(
        "adaspa",
        "AdaSpa (arXiv 2502.21079): searches at fixed steps, a fixed sparsity",
        home="adaspa:AdaSpaPolicy",
        target="sparsity",
        default=0.8,
        spec="adaspa:SPARSITY",
        preset={"query_block": 64, "key_block": 64, "dense_steps": 0.2, "rows": None, "audit": "off"},
        needs_steps=True,
    ),
    AttentionPolicyRow(
        "window",
        "a fixed band of neighbouring blocks, of a fixed sparsity: a baseline",
        home="window:WindowPolicy",
        target="sparsity",
        default=0.8,
        spec="window:SPARSITY",
        preset={"audit": "off"},
    ),
)


def policy_row(name: str) -> AttentionPolicyRow:
    """The row of a policy; InputError for an unknown name."""
    found = next((row for row in ATTENTION_POLICIES if row.name == name), None)
    if found is None:
        raise unknown("attention policy", name, [row.name for row in ATTENTION_POLICIES])
    return found


def first_with_target(target: str) -> AttentionPolicyRow:
    """The policy that a configuration means by giving this target alone."""
    return next(row for row in ATTENTION_POLICIES if row.target == target)


def targets() -> tuple[str, ...]:
    """The fields of a configuration that state a goal, of which it sets one."""
    return tuple(dict.fromkeys(row.target for row in ATTENTION_POLICIES))


def spec_forms() -> tuple[str, ...]:
    """The forms of an attention spec: `dense`, then one per policy."""
    return DENSE, *(row.spec for row in ATTENTION_POLICIES)


def parse_spec(text: str) -> tuple[AttentionPolicyRow | None, float | None]:
    """The policy that a spec names (None: `dense`) and the number after its colon (None: none given).

    Raises InputError for a spec of no form.
    """
    if text == DENSE:
        return None, None
    match = re.fullmatch(r"([^:]+)(?::([0-9.]+))?", text)
    row = next((row for row in ATTENTION_POLICIES if match and row.keyword == match[1]), None)
    try:
        number = float(match[2]) if match and match[2] else None
    except ValueError:
        row = None
    if row is None or (number is not None and row.spec == row.keyword):
        *forms, last = spec_forms()
        keywords = [form.partition(":")[0] for form in spec_forms()]
        guess = nearest(text.partition(":")[0], keywords)
        hint = "" if guess is None or guess == text.partition(":")[0] else f"did you mean {guess!r}? "
        raise InputError(f"attention {text!r} is unknown; {hint}use {', '.join(forms)} or {last}, such as adaspa:0.8")
    return row, number
