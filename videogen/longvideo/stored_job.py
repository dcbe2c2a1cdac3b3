"""Job of a long video as its folder describes it: the request, how far it is, its segments. Without its model.

A job may come from a stranger, and so may the model that it names: `backbones.recorded.check_job_model`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from videogen.backbones.geometry import LatentGeometry
from videogen.core.errors import InputError
from videogen.request.continuity import Continuity
from videogen.request.request import RenderRequest

from .journal.job import job_folder, read_about, read_request

if TYPE_CHECKING:
    from videogen.timeline.latent_timeline import LatentTimeline

    from .segment_plan import SegmentPlan


@dataclass(frozen=True)
class StoredJob:
    """request: the resolved one, every field set. output: how the file is written. model: name, family and hash of the
    model; geometry: its latents', None in a job of a version that did not store it; starts: the frame with which each
    segment begins, where they are clips that begin with an image."""

    request: RenderRequest
    output: dict[str, Any]
    model: dict[str, Any]
    geometry: LatentGeometry | None
    starts: tuple[int, ...] = ()


def read_stored_job(output: str | os.PathLike[str]) -> StoredJob:
    """The job next to an output file. ResumeError where there is none, InputError where it is another program's."""
    folder = job_folder(output)
    job = read_request(folder)
    if not {"request", "model", "output"} <= set(job):
        raise InputError(f"{folder} is not the job of a render")
    about = read_about(folder)
    geometry, starts = LatentGeometry.from_dict(about.get("geometry")), tuple(about.get("starts") or ())
    request = RenderRequest.from_dict(job["request"])
    return StoredJob(request, dict(job["output"]), dict(job["model"]), geometry, starts)


def plan_stored(request: RenderRequest, geometry: LatentGeometry) -> tuple[LatentTimeline, SegmentPlan]:
    """The timeline per latent frame and the segments of a job's request, in which every field is set."""
    from .policies.build import divide_timeline

    if not isinstance(request.continuity, Mapping | Continuity):
        raise InputError(f"continuity={request.continuity!r} is not that of a job, which states a policy's settings")
    values = {name: getattr(request, name) for name in ("frames", "window", "fps", "steps")}
    missing = next((name for name, value in values.items() if value is None), None)
    if missing is not None:
        raise InputError(f"the job's request has no {missing}, which every job states; it is another program's")
    frame_map = geometry.frame_map
    timeline = request.timeline.compile(
        fps=values["fps"], frames=frame_map.round_up(values["frames"]), geometry=geometry, seed=request.seed or 0
    )
    clip = frame_map.full_latents(values["window"])
    return timeline, divide_timeline(timeline, Continuity.from_value(request.continuity), clip, values["steps"])
