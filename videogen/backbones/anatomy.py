"""Anatomy of denoisers: where tokens lie and what attends to what, one row per class of diffusers. No torch here.

The patch size is read from the model's configuration under any of its names; what a class does with text and frames
cannot be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Text in the sequence of self-attention: before the video's tokens, after them, or only in cross-attention.
FIRST, LAST, NONE = "first", "last", "none"
_LINEAR = "its self-attention is linear and never computes a matrix of weights that could be made sparse"
_FLEX = "its attention is causal over segments of frames and runs in torch's flex attention"


@dataclass(frozen=True)
class Anatomy:
    """A class of denoiser.

    text: where text is in self-attention. per_frame: whether self-attention sees one frame at a time, or one position
    in all frames. dense_only: why none of it can be made sparse; empty where it can.
    """

    name: str
    text: str = NONE
    per_frame: bool = False
    dense_only: str = ""


ANATOMY: dict[str, Anatomy] = {
    row.name: row
    for row in (
        *map(
            Anatomy,
            (
                "WanTransformer3DModel", "WanVACETransformer3DModel", "WanAnimateTransformer3DModel",
                "ChronoEditTransformer3DModel", "AnyFlowTransformer3DModel", "SkyReelsV2Transformer3DModel",
                "HeliosTransformer3DModel", "Kandinsky5Transformer3DModel", "Kandinsky6Transformer3DModel",
                "LTXVideoTransformer3DModel", "LTX2VideoTransformer3DModel", "CosmosTransformer3DModel",
                "Cosmos3OmniTransformer", "AllegroTransformer3DModel",
            ),
        ),
        Anatomy("AnyFlowFARTransformer3DModel", dense_only=_FLEX),
        Anatomy("HunyuanVideoTransformer3DModel", LAST),
        Anatomy("HunyuanVideoFramepackTransformer3DModel", LAST),
        Anatomy("HunyuanVideo15Transformer3DModel", LAST),
        Anatomy("MochiTransformer3DModel", LAST),
        Anatomy("MotifVideoTransformer3DModel", LAST),
        Anatomy("CogVideoXTransformer3DModel", FIRST),
        Anatomy("ConsisIDTransformer3DModel", FIRST),
        Anatomy("EasyAnimateTransformer3DModel", FIRST),
        Anatomy("LatteTransformer3DModel", per_frame=True),
        Anatomy("UNetMotionModel", per_frame=True),
        Anatomy("UNet2DConditionModel", per_frame=True),
        Anatomy("UNet3DConditionModel", per_frame=True),
        Anatomy("UNetSpatioTemporalConditionModel", per_frame=True),
        Anatomy("I2VGenXLUNet", per_frame=True),
        Anatomy("SanaVideoTransformer3DModel", dense_only=_LINEAR),
        Anatomy("SanaWMTransformer3DModel"),
    )
}  # fmt: skip


def anatomy_of(model: object) -> Anatomy:
    """The row of a denoiser's class, or of a class that it is derived from; a plain one for a class without a row."""
    names = [kind.__name__ for kind in type(model).__mro__]
    return next((ANATOMY[name] for name in names if name in ANATOMY), Anatomy(names[0]))


def patch_of(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """(frames, height, width) of a token in latents, of a denoiser's configuration; 1 where it has none."""
    size: int | Sequence[int] = config.get("patch_size") or 1
    frames = config.get("patch_size_t") or config.get("temporal_patch_size") or 1
    if isinstance(size, int):
        return int(frames), size, size
    sides = [int(side) for side in size]
    return (sides[0], sides[1], sides[2]) if len(sides) == 3 else (int(frames), sides[0], sides[-1])
