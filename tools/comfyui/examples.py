"""The example workflows, one row each."""

from __future__ import annotations

from . import engine_graphs, motion_graphs, technique_graphs
from .graphs import Example

_OBJECT = ("colour", "shape")  # the prompt names no motion: a node determines it

EXAMPLES = (
    Example(
        "sparse_attention", "Adaptive Sparse Attention holds its recall; Run Report shows what was computed",
        technique_graphs.sparse_attention, "a red ball moves right on a black background",
    ),
    Example(
        "propagation", "Every second step is continued instead of evaluated",
        technique_graphs.propagation, "a blue star spins on a gray background",
    ),
    Example(
        "long_context", "A clip is continued with another prompt; the new frames look back at the last ones",
        technique_graphs.long_context, "a red ball moves right on a black background", _OBJECT,
    ),
    Example(
        "kernel_guard", "Kernel Guard checks the attention kernel before the second step; Run Report shows its error",
        technique_graphs.kernel_guard, "a green square moves down on a black background",
    ),
    Example(
        "metrics", "Video Metrics compares a clip with and without Propagation",
        technique_graphs.metrics, "a yellow ball moves up on a black background",
    ),
    Example(
        "drag", "Noise that is warped along a drag moves the object",
        motion_graphs.drag, "a white ball on a black background", _OBJECT,
    ),
    Example(
        "combine", "A drag that a camera films: noise that is warped along both",
        motion_graphs.combine, "a white ball on a black background", _OBJECT,
    ),
    Example(
        "tracks", "ComfyUI's tracks as a motion: the object follows a curve",
        motion_graphs.tracks, "a yellow ball on a black background", _OBJECT,
    ),
    Example(
        "cut_and_drag", "The object of the first clip is cut out and dragged; Dual-Clock Motion makes it a clip",
        motion_graphs.cut_and_drag, "a red ball on a black background", _OBJECT,
    ),
    Example(
        "transfer", "A star takes the path of a ball, whose motion is measured by optical flow",
        motion_graphs.transfer, "a green star on a black background", _OBJECT,
    ),
    Example(
        "engine", "A clip by videogen's own engine, with its report",
        engine_graphs.render, "a yellow triangle moves left on a black background",
    ),
    Example(
        "extend", "A rendered clip is continued with another prompt",
        engine_graphs.extend, "a red ball moves right on a black background", _OBJECT,
    ),
    Example(
        "storyboard", "Prompts over time as one video",
        engine_graphs.storyboard, "a red ball moves right on a black background", _OBJECT,
    ),
)  # fmt: skip
