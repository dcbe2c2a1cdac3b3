"""Kernel Guard: MODEL in, MODEL out."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..hooks.model_runs import with_runs
from ..native.kernel_guard import KEY, STOP, WARN, GuardedRun
from ..schema import CATEGORY


class KernelGuard(io.ComfyNode):
    """A check of the attention kernel in each run."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenKernelGuard",
            display_name="Kernel Guard (videogen)",
            category=CATEGORY,
            description="Checks that attention is computed right, before the second step: clips that are only noise "
            "often come from an attention kernel that is wrong for this GPU, size or dtype. Whatever computes "
            "attention is checked: ComfyUI's own, or what another node such as a SageAttention patch has set. "
            "The clip stays bit-identical.",
            search_aliases=[
                "videogen", "sage attention", "noise only", "black video", "nan", "attention check", "flash attention",
                "broken output", "debug",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The model that is sampled, after nodes that set an attention kernel."),
                io.Combo.Input(
                    "when_wrong", options=[STOP, WARN], default=STOP,
                    tooltip="stop: the run ends with an error that names the kernel and its error, before time is "
                    "lost. warn: the run continues; the error is in the log and in Run Report. Kernels of low "
                    "precision, such as SageAttention's, only have their error reported.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model for a sampler. The input model stays as it is.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, model: Any, when_wrong: str = STOP) -> Any:
        if when_wrong not in (STOP, WARN):
            raise ValueError(f"when_wrong={when_wrong!r} is unknown: use {STOP} or {WARN}")
        return io.NodeOutput(with_runs(model, KEY, lambda context: GuardedRun(context, when_wrong)))
