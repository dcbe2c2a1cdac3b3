"""Nodes of the pack, one row each. A new node is a class in a file of `nodes/` and a row here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NodeRow:
    """name: of the class; module: of `nodes/`."""

    name: str
    module: str


NODES = (
    NodeRow("AdaptiveSparseAttention", "sparse_attention"),
    NodeRow("Propagation", "propagation"),
    NodeRow("DualClockMotion", "dual_clock"),
    NodeRow("WarpedNoise", "warped_noise"),
    NodeRow("MotionCamera", "motion_camera"),
    NodeRow("MotionDrag", "motion_drag"),
    NodeRow("MotionTracks", "motion_drag"),
    NodeRow("MotionCutAndDrag", "motion_cut"),
    NodeRow("MotionTransfer", "motion_transfer"),
    NodeRow("MotionCombine", "motion_combine"),
    NodeRow("MotionPreview", "motion_combine"),
    NodeRow("OpticalFlow", "optical_flow"),
    NodeRow("RunReport", "run_report"),
    NodeRow("LoadEmbeddedModel", "embedded_model"),
    NodeRow("LoadEmbeddedTextEncoder", "embedded_model"),
    NodeRow("LoadEmbeddedVae", "embedded_model"),
    NodeRow("LoadModel", "engine"),
    NodeRow("Render", "engine"),
)
