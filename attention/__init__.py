"""Block-sparse attention with a guaranteed recall. Tensors in, tensors out; `attach` attaches it to a diffusers model,
`AttentionRun` gives it to any other program.

    block_map = search(query, key, recall=0.95)
    out = sparse_attention(query, key, value, block_map)

    with attach(pipeline, SparseAttention(recall=0.95)) as handle:
        pipeline("a prompt")
        print(handle.report()["mean_density"])

Independent of model families, pipelines and video files. Importing this loads no torch; the first use does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from videogen.core.lazy import lazy

if TYPE_CHECKING:
    from .attaching import AttentionSnapshot, Handle, attach, detach
    from .attention_layer import CallRecord
    from .blockmap import BlockMap, Forced
    from .config import SparseAttention
    from .dense_result import DENSE, Dense
    from .layout import padding_mask
    from .lse import error_bound, merge
    from .mass import block_mass, row_mass
    from .order import TokenGrid, inverse, permutation
    from .policies.base import AttentionCall, AttentionOutcome, AttentionPolicy, FixedMapPolicy, PolicyState
    from .policies.table import ATTENTION_POLICIES, AttentionPolicyRow
    from .run import AttentionRun, AttentionRunSnapshot
    from .searching import audit_map, search
    from .sparse import sparse_attention
    from .watching import ValidationHandle, validate

_HOMES = {
    "ATTENTION_POLICIES": "policies.table",
    "AttentionCall": "policies.base",
    "AttentionOutcome": "policies.base",
    "AttentionPolicy": "policies.base",
    "AttentionRun": "run",
    "AttentionRunSnapshot": "run",
    "AttentionSnapshot": "attaching",
    "BlockMap": "blockmap",
    "CallRecord": "attention_layer",
    "DENSE": "dense_result",
    "Dense": "dense_result",
    "FixedMapPolicy": "policies.base",
    "Forced": "blockmap",
    "Handle": "attaching",
    "AttentionPolicyRow": "policies.table",
    "PolicyState": "policies.base",
    "SparseAttention": "config",
    "TokenGrid": "order",
    "ValidationHandle": "watching",
    "attach": "attaching",
    "detach": "attaching",
    "audit_map": "searching",
    "block_mass": "mass",
    "error_bound": "lse",
    "inverse": "order",
    "merge": "lse",
    "padding_mask": "layout",
    "permutation": "order",
    "row_mass": "mass",
    "search": "searching",
    "sparse_attention": "sparse",
    "validate": "watching",
}

__all__ = [
    "ATTENTION_POLICIES",
    "AttentionCall",
    "AttentionOutcome",
    "AttentionPolicy",
    "AttentionRun",
    "AttentionRunSnapshot",
    "AttentionSnapshot",
    "BlockMap",
    "CallRecord",
    "DENSE",
    "Dense",
    "FixedMapPolicy",
    "Forced",
    "Handle",
    "AttentionPolicyRow",
    "PolicyState",
    "SparseAttention",
    "TokenGrid",
    "ValidationHandle",
    "attach",
    "detach",
    "audit_map",
    "block_mass",
    "error_bound",
    "inverse",
    "merge",
    "padding_mask",
    "permutation",
    "row_mass",
    "search",
    "sparse_attention",
    "validate",
]

__getattr__ = lazy(__name__, _HOMES)
