"""Token layout of ComfyUI's video denoisers: the grid of the video's tokens, and where other tokens lie.

Sizes are read from the attributes that the classes have. Their names are used only for what no attribute shows: at
which end of a joint sequence text, sound and references lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from videogen.attention import TokenGrid

BEFORE, BEHIND, SEPARATE = "before", "behind", "separate"
#: class of a denoiser, or one that it inherits from -> where other tokens lie; all others: before the video
_ENDS = {
    "WanModel": BEHIND,  # context, pose and motion latents
    "AsymmDiTJoint": BEHIND,  # Mochi's text
    "LTXBaseModel": BEHIND,  # guide frames
    "GeneralDIT": SEPARATE,  # Cosmos
    "MiniTrainDIT": SEPARATE,  # Cosmos Predict 2
    "Kandinsky5": SEPARATE,
}
#: classes that put frames of a reference latent before the video, and not behind it
_REFERENCE_FIRST = ("SCAILWanModel",)


@dataclass(frozen=True)
class TokenLayout:
    """grid: of the video's tokens; end: where further tokens lie; references: tokens before the video in any case;
    most: further tokens at most, None for any number."""

    grid: TokenGrid
    end: str = BEFORE
    references: int = 0
    most: int | None = None

    def exact_tokens(self, length: int) -> tuple[int, int] | None:
        """Tokens before and behind the video's in a sequence of `length`; None for one that is not the video's."""
        extra = length - self.grid.video_tokens
        if extra < 0 or (self.most is not None and extra > self.most):
            return None
        if self.end == BEFORE:
            return extra, 0
        before = min(extra, self.references)
        return before, extra - before


def find_layout(denoiser: Any, latents: Any, given: Mapping[str, Any]) -> TokenLayout | None:
    """The layout of a denoiser's input [b, c, f, h, w] (the first one of several modalities); None for another input.

    given: keywords of the call, of which references and guides are read.
    """
    grid = find_grid(denoiser, latents)
    if grid is None:
        return None
    names = [kind.__name__ for kind in type(denoiser).__mro__]
    end = next((_ENDS[name] for name in names if name in _ENDS), BEFORE)
    if end == SEPARATE:
        return TokenLayout(grid, end, most=0)
    if "LTXBaseModel" in names:
        return _layout_with_guides(grid, given.get("keyframe_idxs"))
    return TokenLayout(grid, end, _count_references(denoiser, grid, names, given.get("reference_latent")))


def find_grid(denoiser: Any, latents: Any) -> TokenGrid | None:
    """The grid of a denoiser's input [b, c, f, h, w] (the first one of several modalities); None for another input."""
    video = latents[0] if isinstance(latents, list | tuple) else latents
    if getattr(video, "ndim", 0) != 5:
        return None
    sides = zip(video.shape[2:], find_patch(denoiser), strict=True)
    return TokenGrid(*(-(-int(size) // patch) for size, patch in sides))  # inputs are padded to entire patches


def find_patch(denoiser: Any) -> tuple[int, int, int]:
    """Frames, rows and columns of latents per token."""
    if hasattr(denoiser, "patch_spatial"):
        return int(denoiser.patch_temporal), int(denoiser.patch_spatial), int(denoiser.patch_spatial)
    patch: Any = getattr(denoiser, "patch_size", None)
    if patch is None:
        patch = getattr(getattr(denoiser, "patchifier", None), "patch_size", 1)
    if isinstance(patch, int):
        return int(getattr(denoiser, "patch_size_t", None) or 1), patch, patch
    sizes = [int(size) for size in patch]
    return (sizes[0], sizes[1], sizes[2]) if len(sizes) == 3 else (1, sizes[0], sizes[-1])


def _layout_with_guides(grid: TokenGrid, keyframes: Any) -> TokenLayout:
    """LTX: the last frames of the latents are guides, of which the model drops tokens. keyframes [b, axes, tokens, 2]:
    positions of the guides' tokens."""
    guides = 0 if keyframes is None else int(keyframes.shape[2])
    frames = grid.frames - guides // (grid.height * grid.width)
    return TokenLayout(replace(grid, frames=max(1, frames)), BEHIND, most=guides)


def _count_references(denoiser: Any, grid: TokenGrid, names: list[str], reference: Any) -> int:
    """Tokens of Wan's reference latent [b, c, (f), h, w], where the class puts it before the video."""
    first = getattr(denoiser, "ref_conv", None) is not None or any(name in _REFERENCE_FIRST for name in names)
    if reference is None or not first:
        return 0
    return (int(reference.shape[2]) if reference.ndim == 5 else 1) * grid.height * grid.width
