"""`MotionPlan`: a motion specification made concrete, for one clip's frames and size, and all that follows from it.

Legend: l layer (0 is the background), f frame, h height, w width. Everything is in px; see the package for the
convention.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from videogen.core.errors import InputError

from .interpolation import bilinear_or_zero, pixel_grid
from .layer import Layer

if TYPE_CHECKING:
    import torch

_OBJECT = 0.5  # least coverage at which a point belongs to a layer


@dataclass(frozen=True, eq=False)
class MotionPlan:
    """layers: the background first, each over those before it. Made by `compile_motion`.

    Noise warping takes it as it is: exactly, by `texture`, or by `flow`.
    """

    frames: int
    height: int
    width: int
    layers: tuple[Layer, ...]

    def map_at(self, frame: int, layer: int = 0) -> np.ndarray:
        """Backward map of a layer: float32 [h, w, 2], the first frame's (x, y) that each pixel of `frame` shows."""
        return self._textures(frame)[layer][0].astype(np.float32)

    def maps(self) -> np.ndarray:
        """Backward maps of all layers: float32 [l, f, h, w, 2]; made anew at each call, so ask `map_at` for long
        clips."""
        return np.stack([[self.map_at(f, index) for f in range(self.frames)] for index in range(len(self.layers))])

    def masks_at(self, frame: int) -> np.ndarray:
        """Share of each pixel that each layer has after all above it have theirs: float32 [l, h, w], summing to 1."""
        own = [layer.covers(*found) for layer, found in zip(self.layers, self._textures(frame), strict=True)]
        left, seen = np.ones((self.height, self.width)), []
        for covered in reversed(own):
            seen.append(covered * left)
            left = left * (1 - covered)
        return np.stack(seen[::-1]).astype(np.float32)

    def masks(self) -> np.ndarray:
        """`masks_at` of all frames: float32 [l, f, h, w]."""
        return self._masks

    def address(self, points: np.ndarray, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """What is seen at screen points [..., 2] of a frame: (id int32 [...], texture coordinates float64 [..., 2]).

        Equal ids and coordinates in two frames are the same place. id = layer + len(layers) * birth, birth being the
        frame in which the place came into view (0 wherever the motion knows it from the first frame's plane).
        """
        flat = points.reshape(-1, 2)
        coordinates, births = self.layers[0].texture(flat, self._checked(frame))
        ids, coordinates = births * len(self.layers), coordinates.copy()
        for index, layer in enumerate(self.layers[1:], 1):
            where, births = layer.texture(flat, frame)
            near = np.flatnonzero(layer.near(where))
            own = near[layer.covers(where[near], births[near]) >= _OBJECT]
            ids[own], coordinates[own] = index, where[own]
        return ids.reshape(points.shape[:-1]), coordinates.reshape(points.shape)

    def texture(self, frame: int, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """`address` as noise warping asks for it: (id, u, v) of screen points x, y [n], on their device."""
        import torch

        ids, coordinates = self.address(torch.stack([x, y], -1).cpu().double().numpy(), frame)
        u, v = (torch.from_numpy(np.ascontiguousarray(coordinates[..., axis])).to(x) for axis in (0, 1))
        return torch.from_numpy(ids).to(x.device).long(), u, v

    def flow_at(self, frame: int) -> np.ndarray:
        """Flow from `frame` to the next of what is seen: float32 [2, h, w] (dx, dy)."""
        grid, result = pixel_grid(self.height, self.width), np.zeros((self.height, self.width, 2), np.float32)
        layers = self.address(grid, frame)[0] % len(self.layers)
        for index in np.unique(layers):
            own = layers == index
            result[own] = self.layers[index].step(grid[own], frame) - grid[own]
        return np.moveaxis(result, -1, 0)

    def flow(self) -> np.ndarray:
        """`flow_at` of all frames but the last: float32 [f - 1, 2, h, w]."""
        return self._flow

    def follow(self, points: np.ndarray, layer: int = 0) -> np.ndarray:
        """Where points [n, 2] of the first frame on a layer go: float32 [n, f, 2]; they may leave the picture."""
        points = np.asarray(points, np.float64)
        if points.ndim != 2 or points.shape[1] != 2:
            raise InputError(f"points must be [n, 2], not {list(points.shape)}")
        chosen, reached = self.layers[layer], [points]
        for frame in range(self.frames - 1):
            reached.append(chosen.step(reached[-1], frame))
        return np.stack(reached, axis=1).astype(np.float32)

    def tracks(self) -> np.ndarray:
        """Where the things that move go: float32 [n, f, 2]; a drag's or sprite's centroid, the given tracks, in layers'
        order.

        Without any, a 4x4 grid of points on the background.
        """
        return self._tracks

    def holes_at(self, frame: int) -> np.ndarray:
        """bool [h, w]: pixels of which the first frame shows nothing, come into view from behind or from outside."""
        holes = np.zeros((self.height, self.width), bool)
        for index, (layer, (where, births)) in enumerate(zip(self.layers, self._textures(frame), strict=True)):
            own = layer.covers(where, births) >= _OBJECT
            unseen = layer.unseen(where, births)
            for cut in self._cut_above(index):
                unseen |= bilinear_or_zero(cut, where) >= _OBJECT
            holes[own] = unseen[own]
        return holes

    def mask_at(self, frame: int) -> np.ndarray:
        """Where the motion says what is to be seen: float32 [h, w] in 0..1, for dual-clock sampling.

        All layers that lie on the background, and the background too where it moves, less the holes. Still background
        is free.
        """
        masks = self.masks_at(frame)
        told = masks.sum(0) if self.layers[0].moves else masks[1:].sum(0)
        return np.where(self.holes_at(frame), 0, told).astype(np.float32)

    def mask(self) -> np.ndarray:
        """`mask_at` of all frames: float32 [f, h, w]."""
        return np.stack([self.mask_at(f) for f in range(self.frames)])

    def preview(self, first: np.ndarray | None = None, *, arrows: bool = True) -> np.ndarray:
        """The motion as a clip, by no model: uint8 [f, h, w, 3] RGB.

        first: the first frame uint8 [h, w, 3], which is moved along, holes filled from around them; None: a grid in
        each layer's tint. arrows: draw where things go. With `first` and without arrows it is dual-clock's reference.
        """
        from .preview import render

        return render(self, first, arrows)

    def _textures(self, frame: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Each layer's texture coordinates and births at the pixels."""
        grid = pixel_grid(self.height, self.width)
        return [layer.texture(grid, self._checked(frame)) for layer in self.layers]

    def _cut_above(self, index: int) -> list[np.ndarray]:
        """What was cut from over layer `index` in the first frame: coverages [h, w] of layers above."""
        if self.layers[index].picture is not None:
            return []
        above = self.layers[index + 1 :]
        return [layer.coverage for layer in above if layer.picture is None and layer.coverage is not None]

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
            self.follow(layer.anchors, index) for index, layer in enumerate(self.layers) if layer.anchors is not None
        ]
        if anchored:
            return np.concatenate(anchored)
        xs, ys = (np.arange(4) + 0.5) * self.width / 4, (np.arange(4) + 0.5) * self.height / 4
        return self.follow(np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2))

    def _checked(self, frame: int) -> int:
        if not 0 <= frame < self.frames:
            raise InputError(f"frame {frame} is not in this plan of {self.frames} frames")
        return frame
