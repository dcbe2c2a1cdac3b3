"""Motion options of `render`: from flags to a motion's layers, and the motion's preview, which needs no model."""

from __future__ import annotations

import argparse
from pathlib import Path

from videogen.core.errors import InputError
from videogen.core.rates import exact_fps
from videogen.motion.spec import FITS
from videogen.request.request import RenderRequest

from .types import Json

_CHECKED_FRAMES = 1_000_000  # a longer motion is read only once its video is known to fit the disk


def add_options(render: argparse.ArgumentParser) -> None:
    """The group of `render`."""
    group = render.add_argument_group("motion control (the measured motion is recorded in the manifest, in px)")
    group.add_argument(
        "--camera",
        action="append",
        metavar="MOVE",
        help="camera move, total over the clip: pan=8,zoom=1.2,ease=in_out (tilt, roll, ...; can be repeated)",
    )
    group.add_argument(
        "--drag", action="append", metavar="PATH",
        help="move the object at the first point along a path in px: '10,32>50,32', optionally followed by "
        ";radius=12;scale=1.2;rotate=30 (can be repeated)",
    )  # fmt: skip
    group.add_argument(
        "--motion-from", type=Path, metavar="VIDEO", help="transfer the motion of this video, at its pace"
    )
    group.add_argument(
        "--motion-fit", choices=FITS,
        help="a driving video of another aspect ratio: refuse it (exact, the default), crop it around its centre, or "
        "stretch it",
    )  # fmt: skip
    group.add_argument(
        "--motion",
        metavar="FILE.toml",
        help="a motion plan: [[layer]] kind = 'camera', 'drag', 'cut_drag', 'flow', ...",
    )
    group.add_argument(
        "--motion-strength", type=float, metavar="S",
        help="0 (no motion control) to 1 (default: 0.9 for warped_noise, 1 for dual_clock)",
    )  # fmt: skip
    group.add_argument(
        "--motion-backend", metavar="NAME",
        help="warped_noise (for models trained with it), warped_noise:bipartite, warped_noise:compat (published "
        "LoRAs), warped_noise:texture,cutoff=0.2 (experimental, for models not trained with it); dual_clock or "
        "dual_clock:WEAK,STRONG (any model); default: what suits the model and the motion",
    )  # fmt: skip
    group.add_argument(
        "--first-frame", metavar="FILE.png", help="the first frame that dual_clock warps (default: a plain render's)"
    )
    group.add_argument(
        "--motion-preview", type=Path, metavar="FILE", help="write the motion as a clip; without a prompt, only that"
    )


def layers_from_flags(options: argparse.Namespace) -> list[Json] | None:
    """The layers that the flags describe, lowest first: driving video, plan, drags, then the camera that films them."""
    from videogen.motion.parsing import load_plan, parse_camera, parse_drag
    from videogen.motion.serialisation import to_layers
    from videogen.motion.sources import Transfer

    layers = []
    if options.motion_from is not None:
        layers += to_layers(Transfer(options.motion_from, fit=options.motion_fit or "exact"))
    elif options.motion_fit is not None:
        raise InputError(
            f"motion_fit={options.motion_fit!r} has no effect without a driving video; add --motion-from, or leave "
            "--motion-fit out"
        )
    if options.motion is not None:
        layers += to_layers(load_plan(options.motion))
    for text in options.drag or ():
        layers += to_layers(parse_drag(text))
    for text in options.camera or ():
        layers += to_layers(parse_camera(text))
    return layers or None


def write_preview(request: RenderRequest, path: Path, overwrite: bool) -> list[str]:
    """Write the request's motion as a clip of the request's size and length. Returns what the user should know about
    it, such as that a driving video is a little short."""
    from videogen.media.video import Video
    from videogen.motion import compile_motion
    from videogen.techniques.driving_video import DrivingVideoReader

    motion = request.motion_spec
    if motion is None:
        raise InputError("--motion-preview has no motion to show; add --camera, --drag, --motion-from or --motion")
    clip = _clip_form(request)
    if clip is None:
        raise InputError(
            f"the preview needs a size and a length, which are not known before {request.model!r} is loaded; "
            "add --size and --frames"
        )
    frames, height, width, fps = clip
    reader = DrivingVideoReader(frames, fps)
    plan = compile_motion(motion, frames, height, width, fps=fps, read_video=reader)
    Video(plan.preview(), exact_fps(fps or 16)).save(path, overwrite=overwrite)
    return [*reader.notes, *plan.notes]


def check_motion(request: RenderRequest) -> None:
    """InputError where the motion does not fit the clip, before the model is loaded, if the clip is known by then."""
    from videogen.motion import compile_motion
    from videogen.techniques.driving_video import DrivingVideoReader

    motion, clip = request.motion_spec, _clip_form(request)
    if motion is not None and clip is not None and clip[3] is not None and clip[0] <= _CHECKED_FRAMES:
        compile_motion(motion, *clip[:3], fps=clip[3], read_video=DrivingVideoReader(clip[0], clip[3]))


def _clip_form(request: RenderRequest) -> tuple[int, int, int, float | None] | None:
    """frames, height, width and fps, as requested or as the model's folder states; None where neither does (fps alone
    may be missing)."""
    from videogen.backbones.defaults import read_defaults
    from videogen.backbones.registry import locate
    from videogen.request.resolve import clip_frames

    source = locate(request.model or "embedded")
    defaults = read_defaults(source)[0] if isinstance(source, Path) else {}
    rate = request.fps or defaults.get("fps")
    fps = None if rate is None else float(rate)
    height, width = (getattr(request, name) or defaults.get(name) for name in ("height", "width"))
    native = defaults.get("frames", 0)
    frames = request.frames or native if fps is None else clip_frames(request, fps, native)
    if not (frames and height and width):
        return None
    return frames, height, width, fps
