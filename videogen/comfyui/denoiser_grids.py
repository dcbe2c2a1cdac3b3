"""Token layout of ComfyUI's video denoisers: the grid of the video's tokens, and where other tokens lie.

Read from the attributes that the classes have, not from their names, but for the one thing that no attribute shows: at
which end of a joint sequence the text lies.
"""

from __future__ import annotations

from typing import Any

from videogen.attention import TokenGrid

#: classes whose joint sequences begin with the video; the others begin with the text
_VIDEO_FIRST = ("AsymmDiTJoint",)  # Mochi
#: classes without joint sequences: further tokens are reference latents behind the video
_REFERENCES_BEHIND = ("WanModel", "VaceWanModel", "CameraWanModel")


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


def count_exact_tokens(denoiser: Any, grid: TokenGrid | None, length: int, options: dict[str, Any]) -> tuple[int, int]:
    """Tokens before and after the video's in a sequence of `length`. options: keywords of the denoiser's call."""
    extra = 0 if grid is None else length - grid.video_tokens
    if extra <= 0:
        return 0, 0
    kind = type(denoiser).__name__
    if kind in _REFERENCES_BEHIND:
        has_reference = getattr(denoiser, "ref_conv", None) is not None and options.get("reference_latent") is not None
        before = min(extra, grid.height * grid.width) if has_reference and grid is not None else 0
        return before, extra - before
    return (0, extra) if kind in _VIDEO_FIRST else (extra, 0)
