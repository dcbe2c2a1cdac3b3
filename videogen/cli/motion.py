"""The motion flags of `render`: from words to a motion's layers, and its preview, which needs no model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from videogen.core.errors import InputError
from videogen.core.rates import exact_fps
from videogen.request.request import RenderRequest


def add_options(render: argparse.ArgumentParser) -> None:
    group = render.add_argument_group("motion (say how things move; what was reached stands in the manifest, in px)")
    group.add_argument(
        "--camera",
        metavar="MOVE",
        help="what the camera has done at the end: pan=8,zoom=1.2,ease=in_out (tilt, roll, ...)",
    )
    group.add_argument(
        "--drag", action="append", metavar="PATH",
        help="move what is at the first point along a path in px: '10,32>50,32', then ;radius=12;scale=1.2;rotate=30 (may be repeated)",
    )  # fmt: skip
    group.add_argument("--motion-from", type=Path, metavar="VIDEO", help="move as this video moves, at its own pace")
    group.add_argument(
        "--motion",
        metavar="FILE.toml",
        help="a motion plan: [[layer]] kind = 'camera', 'drag', 'cut_drag', 'flow', ...",
    )
    group.add_argument(
        "--motion-strength",
        type=float,
        metavar="S",
        help="0 to 1, how much of it is kept (default: 0.9 of warped_noise, 1 of dual_clock)",
    )
    group.add_argument(
        "--motion-backend",
        metavar="NAME",
        help="warped_noise (for models trained with it), warped_noise:bipartite, warped_noise:compat (published LoRAs), "
        "warped_noise:texture,cutoff=0.2 (experimental, for models that were not); dual_clock or dual_clock:WEAK,STRONG (any model); "
        "default: as the model can",
    )
    group.add_argument(
        "--first-frame", metavar="FILE.png", help="the first frame that dual_clock warps (default: a plain render's)"
    )
    group.add_argument(
        "--motion-preview", type=Path, metavar="FILE", help="write the motion as a clip; without a prompt, only that"
    )


def from_flags(options: argparse.Namespace) -> list[dict[str, Any]] | None:
    """The layers that the flags ask for, lowest first: driving video, plan, drags, then the camera that sees them."""
    from videogen.motion.parsing import load_plan, parse_camera, parse_drag
    from videogen.motion.serialisation import to_layers
    from videogen.motion.sources import Transfer

    parts = []
    if options.motion_from is not None:
        parts += to_layers(Transfer(options.motion_from))
    if options.motion is not None:
        parts += to_layers(load_plan(options.motion))
    for text in options.drag or ():
        parts += to_layers(parse_drag(text))
    if options.camera is not None:
        parts += to_layers(parse_camera(options.camera))
    return parts or None


def write_preview(request: RenderRequest, path: Path, overwrite: bool) -> None:
    """The request's motion as a clip of its own size and length."""
    from videogen.media.video import Video
    from videogen.motion import compile_motion
    from videogen.techniques.motion_plan import read_driving_video

    motion = request.motion_spec()
    if motion is None:
        raise InputError("--motion-preview has no motion to show; add --camera, --drag, --motion-from or --motion")
    clip = _clip(request)
    if clip is None:
        told = f"the preview needs a size and a length, which {request.model!r} does not tell without loading"
        raise InputError(f"{told}; add --size and --frames")
    frames, height, width, fps = clip
    plan = compile_motion(motion, frames, height, width, fps=fps, read_video=read_driving_video)
    Video(plan.preview(), exact_fps(fps or 16)).save(path, overwrite=overwrite)


def check_motion(request: RenderRequest) -> None:
    """InputError where the motion does not fit the clip, before any model is loaded, if that much is known."""
    from videogen.motion import compile_motion
    from videogen.techniques.motion_plan import read_driving_video

    motion, clip = request.motion_spec(), _clip(request)
    if motion is not None and clip is not None and clip[3] is not None:
        compile_motion(motion, *clip[:3], fps=clip[3], read_video=read_driving_video)


def _clip(request: RenderRequest) -> tuple[int, int, int, float | None] | None:
    """frames, height, width and fps as requested, or as the model's folder states; None where neither does (fps alone may
    be missing)."""
    from videogen.backbones.defaults import read_defaults
    from videogen.backbones.registry import locate
    from videogen.request.resolve import clip_frames

    source = locate(request.model or "embedded")
    values = read_defaults(source)[0] if isinstance(source, Path) else {}
    rate = request.fps or values.get("fps")
    fps = None if rate is None else float(rate)
    height, width = (getattr(request, name) or values.get(name) for name in ("height", "width"))
    frames = (
        request.frames or values.get("frames") if fps is None else clip_frames(request, fps, values.get("frames", 0))
    )
    if not (frames and height and width):
        return None
    return int(frames), int(height), int(width), fps
