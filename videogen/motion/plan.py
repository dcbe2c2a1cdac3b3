"""`MotionPlan`: a motion compiled for one clip's length and size: its maps, masks, flow, tracks and holes.

Legend: l layer (0 is the background), f frame, h height, w width. All positions are in px; see the package for the
convention.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from videogen.core.errors import InputError

from .interpolation import bilinear_or_zero, pixel_grid
from .layer import Layer, apply

if TYPE_CHECKING:
    import torch

_OBJECT = 0.5  # least coverage at which a point belongs to a layer


@dataclass(frozen=True, eq=False)
class MotionPlan:
    """layers: the background first, each on top of those before it; notes: what was done to fit a part to the clip.
    Built by `compile_motion`.

    Noise warping accepts a plan directly: exactly, by `texture`, or by `flow`.
    """

    frames: int
    height: int
    width: int
    layers: tuple[Layer, ...]
    notes: tuple[str, ...] = ()

    def extend(self, frames: int) -> MotionPlan:
        """A plan of at least so many frames, in which nothing moves after the last one of this."""
        if frames <= self.frames:
            return self
        return replace(self, frames=frames, layers=tuple(layer.extend(frames) for layer in self.layers))

    def shorten(self, frames: int) -> MotionPlan:
        """The first so many frames of the plan, at most all."""
        return self if frames >= self.frames else replace(self, frames=frames)

    def map_at(self, frame: int, layer: int = 0) -> np.ndarray:
        """Backward map of a layer: float32 [h, w, 2], the first frame's (x, y) that each pixel of `frame` shows."""
        return self._textures(frame)[layer][0].astype(np.float32)

    def maps(self) -> np.ndarray:
        """Backward maps of all layers: float32 [l, f, h, w, 2]. They are recomputed at each call: use `map_at` for long
        clips."""
        return np.stack([[self.map_at(f, index) for f in range(self.frames)] for index in range(len(self.layers))])

    def masks_at(self, frame: int) -> np.ndarray:
        """Visible fraction of each layer at each pixel, with layers above composited over those below: float32
        [l, h, w], summing to 1."""
        coverages = [layer.coverage_at(*found) for layer, found in zip(self.layers, self._textures(frame), strict=True)]
        left, visible = np.ones((self.height, self.width)), []
        for covered in reversed(coverages):
            visible.append(covered * left)
            left = left * (1 - covered)
        return np.stack(visible[::-1]).astype(np.float32)

    def masks(self) -> np.ndarray:
        """`masks_at` of all frames: float32 [l, f, h, w]."""
        return self._masks

    def address(self, points: np.ndarray, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """The surface point visible at screen points [..., 2] of a frame: (id int32 [...], texture coordinates float64
        [..., 2]).

        Equal ids and coordinates in two frames are the same surface point. id = layer + len(layers) * the frame in
        which the point is first visible (0 for all points on the first frame's plane).
        """
        flat = points.reshape(-1, 2)
        coordinates, first_visible_frame = self.layers[0].texture(flat, self._check_frame(frame))
        ids, coordinates = first_visible_frame * len(self.layers), coordinates.copy()
        for index, layer in enumerate(self.layers[1:], 1):
            where, first_visible_frame = layer.texture(flat, frame)
            near = np.flatnonzero(layer.may_cover(where))
            on_layer = near[layer.coverage_at(where[near], first_visible_frame[near]) >= _OBJECT]
            ids[on_layer], coordinates[on_layer] = index, where[on_layer]
        return ids.reshape(points.shape[:-1]), coordinates.reshape(points.shape)

    def texture(self, frame: int, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """`address` in the form of noise warping: (id, u, v) of screen points x, y [n], on their device."""
        import torch

        ids, coordinates = self.address(torch.stack([x, y], -1).cpu().double().numpy(), frame)
        u, v = (torch.from_numpy(np.ascontiguousarray(coordinates[..., axis])).to(x) for axis in (0, 1))
        return torch.from_numpy(ids).to(x.device).long(), u, v

    def flow_at(self, frame: int) -> np.ndarray:
        """Flow of the visible surfaces from `frame` to the next: float32 [2, h, w] (dx, dy)."""
        grid, result = pixel_grid(self.height, self.width), np.zeros((self.height, self.width, 2), np.float32)
        layers = self.address(grid, frame)[0] % len(self.layers)
        for index in np.unique(layers):
            visible = layers == index
            result[visible] = self.layers[index].step(grid[visible], frame) - grid[visible]
        return np.moveaxis(result, -1, 0)

    def flow(self) -> np.ndarray:
        """`flow_at` of all frames but the last: float32 [f - 1, 2, h, w]."""
        return self._flow

    def follow(self, points: np.ndarray, layer: int = 0) -> np.ndarray:
        """Positions over time of points [n, 2] of the first frame on a layer: float32 [n, f, 2]; they may leave the
        frame."""
        points = np.asarray(points, np.float64)
        if points.ndim != 2 or points.shape[1] != 2:
            raise InputError(f"points must be [n, 2], not {list(points.shape)}")
        chosen, reached = self.layers[layer], [points]
        for frame in range(self.frames - 1):
            reached.append(chosen.step(reached[-1], frame))
        return np.stack(reached, axis=1).astype(np.float32)

    def tracks(self) -> np.ndarray:
        """Tracks of the moving objects: float32 [n, f, 2], in the order of layers: the centroid of each drag or sprite,
        and the given tracks.

        Without any, a 4x4 grid of points on the background.
        """
        return self._tracks

    def holes_at(self, frame: int) -> np.ndarray:
        """bool [h, w]: pixels whose content is not in the first frame: disoccluded, or from outside the frame."""
        holes = np.zeros((self.height, self.width), bool)
        textures = self._textures(frame)
        for index, (layer, (where, first_visible_frame)) in enumerate(zip(self.layers, textures, strict=True)):
            on_layer = layer.coverage_at(where, first_visible_frame) >= _OBJECT
            missing = layer.missing(where, first_visible_frame)
            for cut in self._cut_above(index):
                missing |= bilinear_or_zero(cut, where) >= _OBJECT
            holes[on_layer] = missing[on_layer]
        return holes

    def mask_at(self, frame: int) -> np.ndarray:
        """Region whose content the motion determines: float32 [h, w] in 0..1, for dual-clock sampling.

        All layers above the background, and the background too where it moves, without the holes. A static background
        is not controlled.
        """
        masks = self.masks_at(frame)
        controlled = masks.sum(0) if self.layers[0].moves else masks[1:].sum(0)
        return np.where(self.holes_at(frame), 0, controlled).astype(np.float32)

    def mask(self) -> np.ndarray:
        """`mask_at` of all frames: float32 [f, h, w]."""
        return np.stack([self.mask_at(f) for f in range(self.frames)])

    def preview(
        self, first: np.ndarray | None = None, *, arrows: bool = True, background: np.ndarray | None = None
    ) -> np.ndarray:
        """The motion as a clip, rendered without a model: uint8 [f, h, w, 3] RGB.

        first: the first frame uint8 [h, w, 3], which is warped along the motion, with holes filled from their
        surroundings; None: a grid tinted by layer. arrows: draw the motion. background: as `first`, without the objects
        that move; None: their places are filled. With `first` and without arrows this is the reference of dual-clock
        sampling.
        """
        from .preview import render_preview

        return render_preview(self, first, arrows, background)

    def _textures(self, frame: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Texture coordinates and frame of first visibility at the pixels, per layer."""
        grid = pixel_grid(self.height, self.width)
        return [layer.texture(grid, self._check_frame(frame)) for layer in self.layers]

    def _cut_above(self, index: int) -> list[np.ndarray]:
        """Coverages [h, w] of the layers above layer `index` that were cut from the first frame over it."""
        if self.layers[index].image is not None:
            return []
        above = self.layers[index + 1 :]
        return [layer.coverage for layer in above if layer.image is None and layer.coverage is not None]

    @cached_property
    def _masks(self) -> np.ndarray:
        return np.stack([self.masks_at(f) for f in range(self.frames)], axis=1)

    @cached_property
    def _flow(self) -> np.ndarray:
        empty = np.zeros((0, 2, self.height, self.width), np.float32)
        return np.stack([self.flow_at(f) for f in range(self.frames - 1)]) if self.frames > 1 else empty

    @cached_property
    def _tracks(self) -> np.ndarray:
        anchored = [
            self.follow(apply(layer.to_screen[0], layer.anchors), index)
            for index, layer in enumerate(self.layers)
            if layer.anchors is not None
        ]
        if anchored:
            return np.concatenate(anchored)
        xs, ys = (np.arange(4) + 0.5) * self.width / 4, (np.arange(4) + 0.5) * self.height / 4
        return self.follow(np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2))

    def _check_frame(self, frame: int) -> int:
        if not 0 <= frame < self.frames:
            raise InputError(f"frame={frame} is outside this plan of {self.frames} frames")
        return frame
