"""Adaptive Sparse Attention: MODEL in, MODEL out."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from videogen.attention import SparseAttention

from ..hooks.model_runs import with_runs
from ..native.sparse_attention import KEY, SparseAttentionRun
from ..schema import CATEGORY

_RECALL, _ADASPA = "recall", "adaspa"


class AdaptiveSparseAttention(io.ComfyNode):
    """Sparse self-attention for one model's sampling runs."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenSparseAttention",
            display_name="Adaptive Sparse Attention (videogen)",
            category=CATEGORY,
            description="Makes long video attention sparse: each head computes only the blocks of tokens that hold the "
            "attention mass you ask for, measured while sampling. Works at any size and length, with LoRAs, context "
            "windows and other attention nodes. Connect Run Report to see what was saved.",
            search_aliases=["videogen", "sparse attention", "adaspa", "radial attention", "speed up", "faster video"],
            inputs=[
                io.Model.Input("model", tooltip="A video model, after its LoRAs."),
                io.Combo.Input(
                    "mode", options=[_RECALL, _ADASPA], default=_RECALL,
                    tooltip="recall: as few blocks as hold the attention mass below, audited at every call. adaspa: a "
                    "fixed fraction of the blocks is left out, searched at two steps.",
                ),
                io.Float.Input(
                    "recall", default=0.95, min=0.05, max=1.0, step=0.01,
                    tooltip="For recall: the attention mass that every head retains. 1 is bit-identical to no node; "
                    "0.95 is hard to distinguish from it; 0.8 is faster, and details change.",
                ),
                io.Float.Input(
                    "sparsity", default=0.8, min=0.0, max=0.99, step=0.01,
                    tooltip="For adaspa: the fraction of blocks that is left out, the same in all heads.",
                ),
                io.Int.Input(
                    "min_tokens", default=4096, min=1, max=10_000_000, advanced=True,
                    tooltip="Shorter sequences stay dense: sparse attention does not pay there.",
                ),
                io.Combo.Input(
                    "audit", options=["sampled", "full"], default="sampled", advanced=True,
                    tooltip="sampled: random rows per head check the recall. full: dense attention is computed as "
                    "well, to measure the recall exactly; slower than no node.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model for a sampler. The input model stays as it is.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model: Any, mode: str, recall: float, sparsity: float, min_tokens: int = 4096, audit: str = "sampled"
    ) -> Any:
        if why := _why_wrong(mode, recall, sparsity):
            raise ValueError(why)
        if mode == _ADASPA:
            config = SparseAttention.from_policy(_ADASPA, sparsity, min_length=min_tokens)
        else:
            config = SparseAttention(recall=recall, min_length=min_tokens, audit=audit)
        return io.NodeOutput(with_runs(model, KEY, lambda context: SparseAttentionRun(context, config)))


def _why_wrong(mode: str, recall: float, sparsity: float) -> str:
    """What linked values may have, which ComfyUI does not check; empty where nothing is wrong."""
    if mode not in (_RECALL, _ADASPA):
        return f"mode={mode!r} is unknown: use {_RECALL} or {_ADASPA}"
    if not 0.05 <= recall <= 1:  # so is NaN
        return f"recall={recall} must be from 0.05 to 1, such as 0.95"
    if not 0 <= sparsity <= 0.99:
        return f"sparsity={sparsity} must be from 0 to 0.99, such as 0.8"
    return ""
