"""Propagation: MODEL in, MODEL out."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from videogen.core.errors import InputError

from ..hooks.model_runs import with_runs
from ..native.propagation import KEY, PropagatedRun, read_rule
from ..schema import CATEGORY


class Propagation(io.ComfyNode):
    """Fewer evaluations of one model."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenPropagation",
            display_name="Propagation (videogen)",
            category=CATEGORY,
            description="Calls the model at key steps only, and continues its output between them. For 15 steps or "
            "more: runs of up to 8 steps, in which neighbouring ones differ too much, and samplers that call the model "
            "twice per step (heun, dpm_2) are as without the node; Run Report states why. Of two models for high and "
            "low noise, each needs the node.",
            search_aliases=["videogen", "teacache", "magcache", "easycache", "faster diffusion", "cache", "speed up"],
            inputs=[
                io.Model.Input("model", tooltip="A video model, after its LoRAs."),
                io.String.Input(
                    "rule", default="every:2",
                    tooltip="Which steps are key steps. every:1 is bit-identical to no node; every:2 halves the time; "
                    "fd is the schedule of Faster Diffusion, with more key steps where the clip takes shape. "
                    "max_error:0.05 adds key steps as they are needed to stay within 5 % of the plain run's "
                    "final latents: 95 % of 384 clips of the embedded model did, and the worst were at up to four "
                    "times the bound. It needs a calibration of model and sampler, which the embedded model has.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model for a sampler. The input model stays as it is.")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, rule: str | None = None) -> Any:
        return True if rule is None else (_why_wrong(rule) or True)

    @classmethod
    def execute(cls, model: Any, rule: str) -> Any:
        if why := _why_wrong(rule):
            raise ValueError(why)
        config = read_rule(rule)
        return io.NodeOutput(with_runs(model, KEY, lambda context: PropagatedRun(context, config)))


def _why_wrong(rule: str) -> str:
    try:
        read_rule(rule)
    except InputError as error:
        return str(error)
    return ""
