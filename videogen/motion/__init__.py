"""Motion: optical flow, flow files, and motion specifications that compile to maps, masks, flow and tracks.

    from videogen.motion import Camera, Drag, compile_motion
    motion = Drag((4, 24, 20, 40), [(12, 32), (50, 32)]) + Camera(zoom=1.2, ease="in_out")
    plan = compile_motion(motion, frames=33, height=64, width=64)
    plan.flow(), plan.masks(), plan.tracks(), plan.preview()

All positions are in px, x right, y down; the pixel in column 3 and row 5 has its centre at (3.5, 5.5). The order of
layers is described in `compiling`. This package reads no video files: a driving video is passed as frames, or read by a
function that the caller passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from videogen.core.lazy import lazy

if TYPE_CHECKING:
    from .camera import Camera
    from .compiling import compile_motion
    from .drag import CutDrag, Drag, Sprite
    from .flow import FlowPair, consistent, estimate, flow_both_ways
    from .flow_files import FlowStack, read_flow, write_flow
    from .parsing import load_plan, parse_camera, parse_drag
    from .plan import MotionPlan
    from .serialisation import from_layers, to_layers
    from .sources import Flow, Tracks, Transfer
    from .spec import Compose, Motion

_HOMES = {
    "Camera": "camera",
    "Compose": "spec",
    "CutDrag": "drag",
    "Drag": "drag",
    "Flow": "sources",
    "FlowPair": "flow",
    "FlowStack": "flow_files",
    "Motion": "spec",
    "MotionPlan": "plan",
    "Sprite": "drag",
    "Tracks": "sources",
    "Transfer": "sources",
    "compile_motion": "compiling",
    "consistent": "flow",
    "estimate": "flow",
    "flow_both_ways": "flow",
    "from_layers": "serialisation",
    "load_plan": "parsing",
    "parse_camera": "parsing",
    "parse_drag": "parsing",
    "read_flow": "flow_files",
    "to_layers": "serialisation",
    "write_flow": "flow_files",
}

__all__ = [
    "Camera",
    "Compose",
    "CutDrag",
    "Drag",
    "Flow",
    "FlowPair",
    "FlowStack",
    "Motion",
    "MotionPlan",
    "Sprite",
    "Tracks",
    "Transfer",
    "compile_motion",
    "consistent",
    "estimate",
    "flow_both_ways",
    "from_layers",
    "load_plan",
    "parse_camera",
    "parse_drag",
    "read_flow",
    "to_layers",
    "write_flow",
]

__getattr__ = lazy(__name__, _HOMES)
