"""Exact texture maps of a scene, for warping noise (`videogen.schedulers.warping.maps.TextureMaps`)."""

from __future__ import annotations

import numpy as np
import torch

from .geometry import LayerMap, layer_maps, radius_px
from .render import SIGNED_DISTANCE
from .scene import Scene


class SceneMaps:
    """Each object is a separate layer over the background's.

    margin: how far an object's layer extends beyond its outline, as a fraction of its radius; disc: a disc of 1 +
    margin radii instead of the outline, as a user might mark an object.
    """

    def __init__(
        self, scene: Scene, frames: int, size: int, *, stride: float = 1, margin: float = 0.0, disc: bool = False
    ) -> None:
        self.frames = self.height = self.width = 0
        self.frames, self.height, self.width = frames, size, size
        self._ground, self._things = layer_maps(scene, frames, size, stride)
        self._radii = [radius_px(scene, index, size) for index in range(len(scene.things))]
        self._outlines = [SIGNED_DISTANCE["ball" if disc else thing.shape] for thing in scene.things]
        self._margin = margin

    def texture(self, frame: int, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Layer (0 background, then the objects in order), u and v of screen points [n], in px of frame 0."""
        xs, ys = x.cpu().numpy(), y.cpu().numpy()
        u, v = _at_first_size(self._ground, frame, xs, ys)
        layer = np.zeros(xs.shape, np.int32)
        for index, (thing, radius, outline) in enumerate(zip(self._things, self._radii, self._outlines, strict=True)):
            plane = thing.to_plane(frame, xs, ys)
            inside = outline(*plane, radius) <= self._margin * radius
            layer[inside] = index + 1
            for own, value in zip((u, v), plane, strict=True):
                own[inside] = (value * thing.scale[0])[inside]
        return tuple(
            torch.from_numpy(values).to(x.device) for values in (layer, u.astype(np.float32), v.astype(np.float32))
        )  # type: ignore[return-value]

    def motion(self, frame: int, later: int, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        """[3, ...] of screen points: 1 on an object's layer, else 0; and (dx, dy) in px over `later` frames; negative
        values of `later` go back in time, with the sign of forward motion."""
        layer = self.texture(frame, torch.from_numpy(xs), torch.from_numpy(ys))[0].numpy()
        result = np.stack([layer > 0, np.zeros(xs.shape), np.zeros(xs.shape)]).astype(np.float32)
        for index, own in enumerate((self._ground, *self._things)):
            there = own.to_screen(frame + later, *own.to_plane(frame, xs, ys))
            for axis, (end, begin) in enumerate(zip(there, (xs, ys), strict=True)):
                result[axis + 1][layer == index] = ((end - begin) * np.sign(later))[layer == index]
        return result


def _at_first_size(layer: LayerMap, frame: int, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    u, v = layer.to_plane(frame, xs, ys)
    return u * layer.scale[0], v * layer.scale[0]
