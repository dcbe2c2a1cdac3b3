"""Run Report: what the techniques on a MODEL measured in its latest sampling run."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..images import to_images
from ..reports.plots import plot_reports
from ..reports.reports import collect_reports, describe_reports, to_json
from ..schema import CATEGORY


class RunReport(io.ComfyNode):
    """Text and JSON of the latest run."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenRunReport",
            display_name="Run Report (videogen)",
            category=CATEGORY,
            description="What the videogen nodes on a model did in the latest run: computed fraction of attention, "
            "measured recall, key steps and the seconds that they saved, and every reason for which something ran "
            "plain; as text, as JSON and as plots.",
            search_aliases=["videogen", "report", "statistics", "density", "recall", "plot", "chart"],
            inputs=[
                io.Model.Input("model", tooltip="The model that the sampler was given."),
                io.Latent.Input("latent", tooltip="The sampler's result: the report is made when it is there."),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The sampler's result, unchanged."),
                io.String.Output(display_name="text", tooltip="The report in a few lines."),
                io.String.Output(display_name="json", tooltip="All that was measured."),
                io.Image.Output(display_name="plots", tooltip="The report as an image, with plots by step."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, model: Any, latent: Any) -> Any:
        reports = collect_reports(model)
        text = "\n".join(describe_reports(reports))
        _show(cls, text)
        plots = to_images(plot_reports(reports)[None])
        return io.NodeOutput(latent, text, to_json(reports), plots, ui=ui.PreviewImage(plots, cls=cls))


def _show(node: Any, text: str) -> None:
    """Show the text at the node, where a server is running."""
    from server import PromptServer

    instance = getattr(PromptServer, "instance", None)
    if instance is not None:
        instance.send_progress_text(text, node.hidden.unique_id)
