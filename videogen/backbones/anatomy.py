"""Anatomy of denoisers: where tokens lie and what attends to what, one row per class of diffusers. No torch here.

The patch size is read from the model's configuration under any of its names; what a class does with text and frames
cannot be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Text in the sequence of self-attention: before the video's tokens, after them, or only in cross-attention.
FIRST, LAST, NONE = "first", "last", "none"
_LINEAR = "its self-attention is linear and never computes a matrix of weights that could be made sparse"
_FLEX = "its attention is causal over segments of frames and runs in torch's flex attention"

_OVER_TEXT = "its video attends to the text's keys and its own in one call, as cross-attention"
_FLEX_REFERENCES = "its attention sees references by a mask of its own, in torch's flex attention"


#: a denoiser's configuration -> most tokens along (frames, height, width)
Positions = Callable[[Mapping[str, Any]], tuple[int, int, int]]


@dataclass(frozen=True)
class Anatomy:
    """A class of denoiser.

    text: where text is in self-attention. per_frame: whether self-attention sees one frame at a time, or one position
    in all frames. dense_only: why none of it can be made sparse; empty where it can. positions: how its configuration
    limits the tokens along (frames, height, width); None: not at all.
    """

    name: str
    text: str = NONE
    per_frame: bool = False
    dense_only: str = ""
    positions: Positions | None = None


def _rotary(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """Of a table of rotary frequencies that all three axes are read from."""
    length = int(config.get("rope_max_seq_len", 1024))
    return length, length, length


def _kandinsky(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """Of tables that the class sets, whatever the configuration."""
    return 128, 128, 128


def _cosmos(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """Of `max_size` in latents. Rotary positions alone are read from one table, of the longest axis."""
    frames, height, width = (size // patch for size, patch in zip(config["max_size"], patch_of(config), strict=True))
    if config.get("extra_pos_embed_type"):
        return frames, height, width
    longest = max(frames, height, width)
    return longest, longest, longest


ANATOMY: dict[str, Anatomy] = {
    row.name: row
    for row in (
        *(
            Anatomy(name, positions=_rotary)
            for name in (
                "WanTransformer3DModel", "WanVACETransformer3DModel", "WanAnimateTransformer3DModel",
                "ChronoEditTransformer3DModel", "AnyFlowTransformer3DModel", "SkyReelsV2Transformer3DModel",
            )
        ),
        *map(
            Anatomy,
            (
                "HeliosTransformer3DModel", "LTXVideoTransformer3DModel", "LTX2VideoTransformer3DModel",
                "AllegroTransformer3DModel",
            ),
        ),
        Anatomy("Kandinsky5Transformer3DModel", positions=_kandinsky),
        Anatomy("Kandinsky6Transformer3DModel", positions=_kandinsky),
        Anatomy("CosmosTransformer3DModel", positions=_cosmos),
        Anatomy("Cosmos3OmniTransformer", dense_only=_OVER_TEXT),
        Anatomy("AnyFlowFARTransformer3DModel", dense_only=_FLEX, positions=_rotary),
        Anatomy("WanAnimate2Transformer3DModel", dense_only=_FLEX_REFERENCES),
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
        Anatomy("SanaVideoTransformer3DModel", dense_only=_LINEAR, positions=_rotary),
        Anatomy("SanaWMTransformer3DModel", dense_only=_LINEAR, positions=_rotary),
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
