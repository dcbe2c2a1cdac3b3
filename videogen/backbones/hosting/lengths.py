"""Lengths and sizes that a hosted pipeline makes, where its VAE's compression alone does not decide them.

Latte has one position per frame of its training clips; Kandinsky 5 normalises the first four latent frames of an image
to video clip by those after them; Allegro's VAE covers full tiles only; Helios and FramePack make full sections.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from videogen.core.errors import InputError

from ..clip_spec import ClipSpec
from .arguments import parameters_of
from .pipeline_row import PipelineRow

_FARTHEST = 4096
_NORMALISED = 4  # latent frames at the beginning of a Kandinsky 5 clip


@dataclass(frozen=True)
class LengthRule:
    """fits: whether a pipeline makes a clip of so many frames with these options; reason: why others are not made."""

    fits: Callable[[Any, int, Mapping[str, Any]], bool]
    reason: str


def check_length(pipeline: Any, row: PipelineRow, spec: ClipSpec, name: str) -> None:
    """InputError, with the two nearest values, for a length that the pipeline does not make, and a size that its VAE
    does not decode. name: of the model."""
    rule = LENGTHS.get(row.name)
    if rule is not None and not rule.fits(pipeline, spec.frames, spec.options):
        makes = rule.fits
        near = _nearest(spec.frames, range(_FARTHEST), lambda count: makes(pipeline, count, spec.options))
        raise InputError(f"frames={spec.frames} does not fit {name!r}: {rule.reason}; use {near}")
    if row.name == _TILED:
        for side, value, axis in (("width", spec.width, 2), ("height", spec.height, 1)):
            kernel, stride = pipeline.vae.kernel[axis], pipeline.vae.stride[axis]
            if not _is_covered(value, kernel, stride):
                covers = partial(_is_covered, kernel=kernel, stride=stride)
                near = _nearest(value, range(_FARTHEST), covers)
                raise InputError(f"{side}={value} does not fit {name!r}: {_TILES}; use {near}")


def describe_length(row: PipelineRow) -> str:
    """Why some lengths are not made; empty where the VAE's compression decides."""
    rule = LENGTHS.get(row.name)
    return "" if rule is None else rule.reason


def call_length(pipeline: Any, row: PipelineRow, frames: int, options: Mapping[str, Any]) -> int:
    """The length that the pipeline is called with so that it makes so many frames."""
    if row.name != _FRAMEPACK:
        return frames
    window = int(_option(pipeline, "latent_window_size", options))
    return (frames - 1) // (4 * window) * (4 * (window - 1) + 1)


def _nearest(value: int, candidates: Sequence[int], fits: Callable[[int], bool]) -> str:
    below = next((count for count in reversed(candidates[:value]) if fits(count)), None)
    above = next((count for count in candidates[value:] if fits(count)), None)
    return " or ".join(str(count) for count in (below, above) if count is not None)


def _option(pipeline: Any, name: str, options: Mapping[str, Any]) -> Any:
    kind = pipeline if hasattr(pipeline, "_blocks") else type(pipeline)
    return options.get(name, parameters_of(kind)[name].default)


def _is_covered(length: int, kernel: int, stride: int) -> bool:
    """Whether tiles of this kernel and stride cover a side fully, with no remainder."""
    return length == kernel or (stride > 0 and length > kernel and (length - kernel) % stride == 0)


def _fits_positions(pipeline: Any, frames: int, options: Mapping[str, Any]) -> bool:
    return frames in (1, pipeline.transformer.config.video_length)


def _fits_reference(pipeline: Any, frames: int, options: Mapping[str, Any]) -> bool:
    temporal = pipeline.vae_scale_factor_temporal
    return frames % temporal == 1 and (frames - 1) // temporal + 1 > _NORMALISED


def _fits_tiles(pipeline: Any, frames: int, options: Mapping[str, Any]) -> bool:
    return _is_covered(frames, pipeline.vae.kernel[0], pipeline.vae.stride[0])


def _fits_segments(pipeline: Any, frames: int, options: Mapping[str, Any]) -> bool:
    """Helios decodes each segment as a clip and cuts all to 4k+1 frames."""
    if frames < 1:
        return False
    window = 4 * (int(_option(pipeline, "num_latent_frames_per_chunk", options)) - 1) + 1
    made = -(-frames // window) * window
    return frames == (made - 1) // 4 * 4 + 1


def _fits_windows(pipeline: Any, frames: int, options: Mapping[str, Any]) -> bool:
    window = int(_option(pipeline, "latent_window_size", options))
    return frames > 1 and (frames - 1) % (4 * window) == 0


_TILED, _FRAMEPACK = "AllegroPipeline", "HunyuanVideoFramepackPipeline"
_TILES = "its VAE decodes overlapping tiles, which have to cover the clip exactly"
_SEGMENTS = LengthRule(
    _fits_segments, "its pipeline makes full segments (num_latent_frames_per_chunk latent frames each)"
)

LENGTHS: dict[str, LengthRule] = {
    "LattePipeline": LengthRule(_fits_positions, "its model has positions for one image or for its full length"),
    "Kandinsky5I2VPipeline": LengthRule(
        _fits_reference, "its pipeline normalises the first four latent frames by those after them"
    ),
    _TILED: LengthRule(_fits_tiles, _TILES),
    _FRAMEPACK: LengthRule(_fits_windows, "its pipeline makes full sections (latent_window_size latent frames each)"),
    **dict.fromkeys(
        (
            "HeliosPipeline", "HeliosPyramidPipeline", "HeliosModularPipeline", "HeliosPyramidModularPipeline",
            "HeliosPyramidDistilledModularPipeline",
        ),
        _SEGMENTS,
    ),
}  # fmt: skip
