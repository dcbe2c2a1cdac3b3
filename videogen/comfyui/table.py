"""Nodes of the pack, one row each. A new node is a class in a file of `nodes/` and a row here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NodeRow:
    """name: of the class; module: of `nodes/`; engine: whether it runs models of diffusers (`ENGINE_PACKAGES`)."""

    name: str
    module: str
    engine: bool = False


#: packages of the engine that ComfyUI's environment may lack; nodes for ComfyUI's own models do without
ENGINE_PACKAGES = ("diffusers", "accelerate")


NODES = (
    NodeRow("AdaptiveSparseAttention", "sparse_attention"),
    NodeRow("Propagation", "propagation"),
    NodeRow("DualClockMotion", "dual_clock"),
    NodeRow("LongContext", "long_context"),
    NodeRow("LongContextContinue", "long_context"),
    NodeRow("WarpedNoise", "warped_noise"),
    NodeRow("MotionCamera", "motion_camera"),
    NodeRow("MotionDrag", "motion_drag"),
    NodeRow("MotionTracks", "motion_drag"),
    NodeRow("MotionCutAndDrag", "motion_cut"),
    NodeRow("MotionTransfer", "motion_transfer"),
    NodeRow("MotionCombine", "motion_combine"),
    NodeRow("MotionPreview", "motion_combine"),
    NodeRow("OpticalFlow", "optical_flow"),
    NodeRow("KernelGuard", "kernel_guard"),
    NodeRow("RunReport", "run_report"),
    NodeRow("LoadEmbeddedModel", "embedded_model", engine=True),
    NodeRow("LoadEmbeddedTextEncoder", "embedded_model", engine=True),
    NodeRow("LoadEmbeddedVae", "embedded_model", engine=True),
    NodeRow("LoadModel", "engine", engine=True),
    NodeRow("Render", "engine", engine=True),
    NodeRow("RenderConditions", "engine_edit", engine=True),
    NodeRow("Edit", "engine_edit", engine=True),
    NodeRow("Extend", "engine_edit", engine=True),
    NodeRow("Storyboard", "engine_story", engine=True),
    NodeRow("VideoMetrics", "video_metrics"),
)
