"""Metrics of a clip, alone or against a reference, as figures and as a few lines of text."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from videogen.core.errors import InputError
from videogen.media.video import Video
from videogen.metrics.fidelity import psnr_db, ssim
from videogen.metrics.flicker import flicker
from videogen.metrics.long_clip import LongClip, LongClipReport

NOT_MEASURED = math.nan
_LEAST_FRAMES = 3


@dataclass(frozen=True)
class ClipFigures:
    """psnr_db, ssim: against the reference; motion_px: mean length of the flow per frame; flicker: levels of 255; seam:
    the worst ratio at a join; drift_de: Lab distance from start to end. NaN: not measured."""

    psnr_db: float
    ssim: float
    motion_px: float
    flicker: float
    seam: float
    drift_de: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data; None where nothing was measured, and `infinite` for the PSNR of equal clips."""
        plain = {name: None if math.isnan(value) else value for name, value in asdict(self).items()}
        return {name: "infinite" if value == math.inf else value for name, value in plain.items()}


def read_joins(text: str) -> tuple[int, ...]:
    """Numbers of frames from a list with commas. InputError for other text."""
    try:
        return tuple(sorted({int(part) for part in text.replace(",", " ").split()}))
    except ValueError as error:
        raise InputError(f"joins={text!r} must be numbers of frames, such as '33, 66'") from error


def measure_clip(
    clip: Video,
    reference: Video | None = None,
    joins: Sequence[int] = (),
    window: int = 0,
    frames_per_latent: int = 1,
    check: Callable[[], None] = lambda: None,
) -> tuple[ClipFigures, LongClipReport]:
    """joins: frames at which segments meet; window: frames that the model makes at once (0: up to the first join, or
    all); frames_per_latent: of the model's VAE; check: called between frames, may stop the work. InputError for a clip
    of fewer than 3 frames, joins outside of it, a negative window and a reference of another shape."""
    if window < 0:
        raise InputError(f"window={window} must be 0 (up to the first join, or all) or a number of frames")
    if frames_per_latent < 1:
        raise InputError(f"frames_per_latent={frames_per_latent} must be at least 1, such as 4 for Wan")
    if len(clip) < _LEAST_FRAMES:
        raise InputError(
            f"the clip has {len(clip)} frame{'s' * (len(clip) != 1)}; metrics need at least {_LEAST_FRAMES}"
        )
    if joins and not (joins[0] > 0 and joins[-1] < len(clip)):
        raise InputError(f"joins={', '.join(map(str, joins))} must be from 1 to {len(clip) - 1}, frames of the clip")
    compared = (NOT_MEASURED, NOT_MEASURED)
    if reference is not None:
        compared = psnr_db(clip.frames, reference.frames), ssim(clip.frames, reference.frames, check)
    edges = (0, *joins, len(clip))
    at_once = max(2, window or edges[1])
    meter = LongClip(fps=float(clip.fps), window=at_once, frames_per_latent=frames_per_latent)
    for start, stop in pairwise(edges):
        check()
        meter.add(clip.frames[start:stop])
    report = meter.report()
    figures = ClipFigures(
        *compared,
        _mean_motion(clip.frames, check),
        flicker(clip.frames, check),
        max(report.ratios, default=NOT_MEASURED),
        NOT_MEASURED if report.drift is None else report.drift.colour_de,
    )
    return figures, report


def describe_metrics(figures: ClipFigures, report: LongClipReport) -> str:
    """One line per figure that was measured, and the limits that are exceeded."""
    lines = [
        f"{title}: {value:{form}}"
        for (title, form), value in zip(_TITLES, asdict(figures).values(), strict=True)
        if not math.isnan(value)
    ]
    return "\n".join([*lines, f"faults: {', '.join(report.faults()) or 'none'}"])


def metrics_json(figures: ClipFigures, report: LongClipReport) -> str:
    """The figures, and all that was measured of seams, drift, repetition and freezing."""
    return json.dumps({**figures.to_dict(), "clip": report.to_dict()})


def _mean_motion(frames: np.ndarray, check: Callable[[], None]) -> float:
    """NaN where OpenCV is not installed."""
    try:
        from videogen.motion.flow import estimate

        lengths = []
        for before, after in pairwise(frames):
            check()
            flow = estimate(before, after, preset="fast")
            lengths.append(float(np.hypot(flow[0], flow[1]).mean()))
    except ModuleNotFoundError:
        return NOT_MEASURED
    return float(np.mean(lengths))


_TITLES = (
    ("PSNR (dB)", ".2f"), ("SSIM", ".4f"), ("motion (px per frame)", ".3f"), ("flicker (levels of 255)", ".3f"),
    ("worst seam ratio", ".2f"), ("colour drift (Lab distance)", ".2f"),
)  # fmt: skip
