"""What to attend to: block-sparse attention under a stated recall. Tensors in, tensors out; `attach` ties it to a
model.

    block_map = search(query, key, recall=0.95)
    out = sparse_attention(query, key, value, block_map)

    with attach(pipeline, SparseAttention(recall=0.95)) as handle:
        pipeline("a prompt")
        print(handle.report()["mean_density"])

Knows no model family, no pipeline and no video file. Importing this loads no torch; the first use does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from videogen.core.lazy import lazy

if TYPE_CHECKING:
    from .attaching import Handle, attach
    from .blockmap import BlockMap, Forced
    from .config import SparseAttention
    from .lse import error_bound, merge
    from .mass import block_mass, row_mass
    from .order import TokenGrid, inverse, permutation
    from .searching import audit_map, search
    from .sparse import sparse_attention

_HOMES = {
    "BlockMap": "blockmap", "Forced": "blockmap", "Handle": "attaching", "SparseAttention": "config", "TokenGrid": "order",
    "attach": "attaching", "audit_map": "searching", "block_mass": "mass", "error_bound": "lse", "inverse": "order", "merge": "lse",
    "permutation": "order", "row_mass": "mass", "search": "searching", "sparse_attention": "sparse",
}  # fmt: skip

__all__ = [
    "BlockMap",
    "Forced",
    "Handle",
    "SparseAttention",
    "TokenGrid",
    "attach",
    "audit_map",
    "block_mass",
    "error_bound",
    "inverse",
    "merge",
    "permutation",
    "row_mass",
    "search",
    "sparse_attention",
]

__getattr__ = lazy(__name__, _HOMES)
