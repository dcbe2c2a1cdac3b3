"""Texture maps: the position of each image point on the surface it shows. This is the interface between a motion and
noise warping.

Units: px, x right, y down, pixel centres at integer + 0.5. Flow [frames - 1, 2, height, width] is (dx, dy) from each
frame to the next. Legend: f frame, h height, w width, n points of any shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from videogen.core.errors import InputError

from .flow import DisplacementMap, Origin, trace_back
from .seams import seams

if TYPE_CHECKING:
    import torch

UNKNOWN = -1  # the layer of points whose surface is unknown: they get independent noise in each frame


@runtime_checkable
class TextureMaps(Protocol):
    """A motion as maps: exact at any point, without pixel sampling. A camera or a drag provides these without flow."""

    frames: int
    height: int
    width: int

    def texture(self, frame: int, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Layer (int, 0 or more, or UNKNOWN), u and v (float, px on that layer's plane) of screen points x, y [n] of a
        frame.

        A layer's plane is infinite and its noise persists while it is hidden: the same (layer, u, v) is the same noise
        in all frames. With u = x and v = y in frame 0 a texel is half a pixel.
        """
        ...


@runtime_checkable
class FlowMotion(Protocol):
    """A motion as flow."""

    def flow(self) -> torch.Tensor:
        """Forward flow [frames - 1, 2, h, w]."""
        ...


class FlowMaps:
    """Texture maps of a flow stack: the plane is frame 0, and displacements are composed, never the noise.

    Points that enter across the image border extend the adjacent plane. Points where forward and backward flow disagree
    (disocclusions) get a new layer, numbered by the frame in which they are first visible. backward [frames - 1, 2, h,
    w]: from each frame t + 1 to the one before; without it the forward flow is inverted, which must guess the front
    surface where objects overlap (the one whose motion matches that of the next frame). The cost grows with the
    requested frame, but frames requested in increasing order cost a single pass.
    """

    def __init__(self, forward: torch.Tensor, backward: torch.Tensor | None = None) -> None:
        self.forward = check_flow(forward)
        self.backward = None if backward is None else check_flow(backward)
        if self.backward is not None and self.backward.shape != self.forward.shape:
            raise InputError(
                f"backward flow {list(self.backward.shape)} must have the forward flow's shape "
                f"{list(self.forward.shape)}"
            )
        self.frames, self.height, self.width = len(self.forward) + 1, *self.forward.shape[2:]
        self._map: DisplacementMap | None = None
        self._seams: dict[int, torch.Tensor] = {}
        self._frame = 0

    def flow(self) -> torch.Tensor:
        return self.forward

    def origin(self, step: int, device: torch.device) -> Origin:
        """Positions in frame `step` of the pixels of frame step + 1."""
        later = min(step + 1, len(self.forward) - 1)
        forward, following = (self.forward[t].to(device) for t in (step, later))
        measured = None if self.backward is None else self.backward[step].to(device)
        forward_seams = self._forward_seams(step, forward)
        later_seams = self._forward_seams(later, following) if measured is None else seams(measured)
        return trace_back(forward, measured, following, forward_seams, later_seams)

    def _forward_seams(self, step: int, flow: torch.Tensor) -> torch.Tensor:
        """Seams of the forward flow of a step, cached while the next step may need them."""
        if step not in self._seams or self._seams[step].device != flow.device:
            self._seams = {t: found for t, found in self._seams.items() if t == step - 1} | {step: seams(flow)}
        return self._seams[step]

    def texture(self, frame: int, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        layer, dx, dy = self._map_at(frame, x.device).sample(x, y)
        return layer, x + dx, y + dy

    def _map_at(self, frame: int, device: torch.device) -> DisplacementMap:
        current = self._map
        if current is None or self._frame > frame or current.device != device:
            current, self._frame = DisplacementMap.identity(self.height, self.width, device), 0
        while self._frame < frame:
            current = current.advance(self.origin(self._frame, device), new_layer=self._frame + 1)
            self._frame += 1
        self._map = current
        return current


def as_maps(motion: object) -> TextureMaps:
    """Texture maps of the user's `motion`. InputError where it has neither maps nor flow."""
    if isinstance(motion, TextureMaps):
        return motion
    return as_flow(motion)


def as_flow(motion: object) -> FlowMaps:
    """Flow of the user's `motion`. InputError where it has none."""
    import torch

    if isinstance(motion, FlowMaps):
        return motion
    if isinstance(motion, FlowMotion):
        return FlowMaps(motion.flow())
    if isinstance(motion, torch.Tensor) or hasattr(motion, "__array__"):
        return FlowMaps(torch.as_tensor(motion))
    raise InputError(
        f"motion={type(motion).__name__} has no flow: pass a flow stack [frames - 1, 2, height, width], "
        "or an object with flow() (any method) or texture() (method='texture')"
    )


def check_flow(flow: torch.Tensor) -> torch.Tensor:
    """The flow stack in fp32. InputError where its shape or values are not those of flow."""
    import torch

    flow = torch.as_tensor(flow)
    if flow.ndim != 4 or flow.shape[1] != 2 or 0 in flow.shape[2:]:
        raise InputError(
            f"flow {list(flow.shape)} must be [frames - 1, 2, height, width]: dx and dy in px from each frame to the "
            "next"
        )
    flow = flow.float()
    bad = ~flow.isfinite().flatten(1).all(1)
    if bad.any():
        first = int(bad.nonzero()[0, 0])
        raise InputError(
            f"flow from frame {first} to {first + 1} has NaN or infinite values; set unknown flow to 0 or fix the file"
        )
    return flow
