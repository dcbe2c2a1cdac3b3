"""Disk and memory that a video takes, checked before anything is computed."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from videogen.core.byte_sizes import format_bytes
from videogen.core.errors import InputError
from videogen.request.image_chain import is_image_chain
from videogen.request.resolved import ResolvedRequest

from .journal.job import job_folder

if TYPE_CHECKING:
    from videogen.backbones.geometry import LatentGeometry

_LATENT_BYTES = 4  # fp32
_CLIP_BYTES = 3  # of a pixel, RGB
_DECODED_BYTES = 12  # of a pixel as the VAE decodes it, fp32
_COPIES = 2  # of the frames in memory: those of the segments, and all of them joined


def check_disk(request: ResolvedRequest, geometry: LatentGeometry, output: str | os.PathLike[str]) -> None:
    """InputError where what the job of a long video stores does not fit the disk of its output."""
    needed = _stored_bytes(request, geometry)
    folder = job_folder(output)
    stored = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    place = next(parent for parent in folder.parents if parent.exists())
    free = shutil.disk_usage(place).free + stored
    if needed > free:
        raise InputError(
            f"{request.length} take at least {format_bytes(needed)} of disk while they are rendered, and "
            f"{place} has {format_bytes(free)}; use at most "
            f"{request.describe_length(max(1, request.frames * free // needed))}"
        )


def _stored_bytes(request: ResolvedRequest, geometry: LatentGeometry) -> int:
    """What a job stores: latents, or the frames of clips that begin with an image."""
    if is_image_chain(request):
        return request.frames * request.height * request.width * 3
    latents = geometry.frame_map.round_up(request.frames), request.height, request.width
    _, channels, count, height, width = geometry.shape(*latents)
    return channels * count * height * width * _LATENT_BYTES


def check_memory(request: ResolvedRequest) -> None:
    """InputError where the frames of a video that is returned at once do not fit this machine's memory: a lower bound,
    of pixels alone."""
    pixels, present = request.frames * request.height * request.width, _memory_bytes()
    if present is None or pixels * (_CLIP_BYTES + _DECODED_BYTES) <= present:
        return
    needed = pixels * _bytes_per_pixel(request)
    if needed > present:
        several = "leave out continuity='off'" if request.request.continuity is not None else "a smaller size"
        streams = "render a long video into a file" if request.is_long else several
        most = request.describe_length(max(1, request.frames * present // needed))
        raise InputError(
            f"{request.length} take at least {format_bytes(needed)} of memory at {request.width}x{request.height}, "
            f"and this machine has {format_bytes(present)}; use at most {most}, or {streams}"
        )


def _bytes_per_pixel(request: ResolvedRequest) -> int:
    """What a pixel of the frames takes of this machine's memory: a clip is decoded there without an accelerator."""
    if request.is_long:
        return _CLIP_BYTES * _COPIES
    from videogen.backbones.placement import best_device

    decodes_here = str(request.device) == "cpu" and (request.request.device == "cpu" or best_device() == "cpu")
    return _CLIP_BYTES + (_DECODED_BYTES if decodes_here else 0)


def _memory_bytes() -> int | None:
    """Physical memory; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
