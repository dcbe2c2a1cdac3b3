"""Nodes of the pack, one row each. A new node is a class in a file of `nodes/` and a row here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NodeRow:
    """name: of the class; module: of `nodes/`; engine: whether it runs models of diffusers (`ENGINE_PACKAGES`);
    opencv: whether it needs `OPENCV`."""

    name: str
    module: str
    engine: bool = False
    opencv: bool = False


#: packages of the engine that ComfyUI's environment may lack; nodes for ComfyUI's own models do without
ENGINE_PACKAGES = ("diffusers", "accelerate")
#: as it is imported, and the package that has it
OPENCV, OPENCV_PACKAGE = "cv2", "opencv-python-headless"
HOW_TO_INSTALL = (
    "in the folder of videogen's repository, run `pip install -r requirements.txt` with the Python that runs ComfyUI"
)

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
    NodeRow("MotionCutAndDrag", "motion_cut", opencv=True),
    NodeRow("MotionTransfer", "motion_transfer", opencv=True),
    NodeRow("MotionCombine", "motion_combine"),
    NodeRow("MotionPreview", "motion_combine", opencv=True),
    NodeRow("OpticalFlow", "optical_flow", opencv=True),
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
