"""Conditions of pipelines that take images with their frame numbers, or a clip as a tensor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..clip import ClipSpec
from ..given import Given, given_value


def build_sparse(given: Iterable[Given], spec: ClipSpec) -> dict[str, Any]:
    """For `AnimateDiffSparseControlNetPipeline`: images, and the frames at which they stand."""
    images = [one for one in given if one.kind == "images"]
    frames = [one.frame if one.frame >= 0 else spec.frames + one.frame for one in images]
    return {"conditioning_frames": [one.value for one in images], "controlnet_frame_indices": frames}


def build_tensor(given: Iterable[Given], spec: ClipSpec) -> dict[str, Any]:
    """For `AnyFlowFARPipeline`: the clip that it continues as [1, f, c, h, w] in 0..1."""
    return {"video": _pixels(given_value(given, "video")).transpose(1, 2)}


def build_inpainting(given: Iterable[Given], spec: ClipSpec) -> dict[str, Any]:
    """For `EasyAnimateInpaintPipeline`: the video as [1, c, f, h, w] in 0..1, its mask in 0..255."""
    given = tuple(given)
    return {"video": _pixels(given_value(given, "video")), "mask_video": 255 * _pixels(given_value(given, "mask"))}


def _pixels(clip: list[Any]) -> Any:
    """[1, c, f, h, w] in 0..1 of PIL images; masks have one channel."""
    import numpy as np
    import torch

    arrays = [np.array(image) for image in clip]
    frames = np.stack([array[..., None] if array.ndim == 2 else array for array in arrays])
    return torch.from_numpy(frames).permute(3, 0, 1, 2)[None] / 255


def build_controls(given: Iterable[Given], spec: ClipSpec) -> dict[str, Any]:
    """For `Cosmos3OmniModularPipeline`: control videos by name; an image or video as it is."""
    given = tuple(given)
    controls = {one.name: one.value for one in given if one.kind == "control"}
    found = {one.kind: one.value for one in given if one.kind != "control"}
    return found | ({"control_videos": controls} if controls else {})


def build_references(given: Iterable[Given], spec: ClipSpec) -> dict[str, Any]:
    """For `MiniMaxH3ModularPipeline`: reference images; a first and a last image as they are."""
    from diffusers.modular_pipelines.minimax_h3 import MiniMaxH3ImageReference

    given = tuple(given)
    references = [MiniMaxH3ImageReference(image=one.value) for one in given if one.kind == "references"]
    found = {one.kind: one.value for one in given if one.kind != "references"}
    return found | ({"references": references} if references else {})
