"""Conditions of LTX pipelines: images and clips at given frames, as the objects that these pipelines take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..clip import ClipSpec
from ..given import Given, given_value

_TEMPORAL = 8  # frames per latent frame, of both lineages


def build(given: Iterable[Given], spec: ClipSpec) -> dict[str, Any]:
    """For `LTXConditionPipeline`: one image or video as it is, otherwise a list of conditions in pixel frames, each of
    the request's strength: the call ignores its own where it is given a list."""
    given = tuple(given)
    if len(given) == 1 and given[0].kind in ("image", "video"):
        return {given[0].kind: given[0].value}
    from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition

    kinds, strength = {"video": "video"}, spec.options.get("strength", 1.0)
    return {
        "conditions": [
            LTXVideoCondition(frame_index=frame, strength=strength, **{kinds.get(kind, "image"): value})
            for kind, frame, value in _placed(given, spec)
        ]
    }


def build2(given: Iterable[Given], spec: ClipSpec) -> dict[str, Any]:
    """For `LTX2ConditionPipeline`: a list of conditions, placed in latent frames."""
    from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition

    placed = list(_placed(given, spec))
    if not placed:
        return {}
    return {"conditions": [LTX2VideoCondition(frames=value, index=_latent(frame)) for _, frame, value in placed]}


def build_reference(given: Iterable[Given], spec: ClipSpec) -> dict[str, Any]:
    """For `LTX2InContextPipeline`: the reference clip, and images at given frames."""
    from diffusers.pipelines.ltx2.pipeline_ltx2_ic_lora import LTX2ReferenceCondition

    given = tuple(given)
    reference = LTX2ReferenceCondition(frames=given_value(given, "control:reference"))
    return {"reference_conditions": [reference]} | build2(given, spec)


def build_modular(given: Iterable[Given], spec: ClipSpec) -> dict[str, Any]:
    """For `LTX2ModularPipeline`: an image alone as it is, a reference clip, or images and videos at given frames."""
    given = tuple(given)
    if [one.kind for one in given] == ["image"]:
        return {"image": given[0].value}
    is_reference = any(one.key == "control:reference" for one in given)
    return (build_reference if is_reference else build2)(given, spec)


def build_hdr(given: Iterable[Given], spec: ClipSpec) -> dict[str, Any]:
    """For `LTX2HDRPipeline`: the clip whose dynamic range is widened."""
    from diffusers.pipelines.ltx2.pipeline_ltx2_hdr_lora import LTX2HDRReferenceCondition

    return {"reference_conditions": [LTX2HDRReferenceCondition(frames=given_value(given, "control:reference"))]}


def _placed(given: Iterable[Given], spec: ClipSpec) -> Iterator[tuple[str, int, Any]]:
    """(kind, frame, value) of the conditions that stand at a frame of the clip."""
    for one in given:
        if one.kind in ("image", "last_image", "images", "video"):
            yield one.kind, one.frame if one.frame >= 0 else spec.frames + one.frame, one.value


def _latent(frame: int) -> int:
    """The latent frame of a frame: the first has one frame, the others eight."""
    return -(-frame // _TEMPORAL)
