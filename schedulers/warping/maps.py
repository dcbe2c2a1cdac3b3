"""Where the points of each picture lie on the things they show: what noise warping asks of a motion.

Units: px, x right, y down, pixel centres at integer + 0.5. Flow [frames - 1, 2, height, width] is (dx, dy) from each
frame to the next. Legend: f frame, h height, w width, n points of any shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from videogen.core.errors import InputError

from .flow import Origin, Sheet, traced_back
from .seams import seams

if TYPE_CHECKING:
    import torch

UNKNOWN = -1  # the layer of points of which nothing is known: they get noise of their own frame


@runtime_checkable
class TextureMaps(Protocol):
    """A motion as maps: exact at any point, no pixels in between. A camera or a drag gives these without any flow."""

    frames: int
    height: int
    width: int

    def texture(self, frame: int, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Layer (int, 0 or more, or UNKNOWN), u and v (float, px of that layer's own plane) of screen points x, y [n]
        of a frame.

        A layer's plane is endless and keeps its noise while it is hidden. The same (layer, u, v) is the same noise at
        all times; u = x, v = y in frame 0 keeps the texture's grain at half a pixel.
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

    Points that come in over the picture's edge go on with the plane beside them. Points that forward and backward flow
    disagree on (uncovered ground) get a layer of their own, numbered by the frame that they appear in. backward [frames
    - 1, 2, h, w]: to each frame t + 1 from the one before; without it, the forward flow is inverted, which guesses at
    what is in front where things overlap (what is seen to move there a frame later). Work grows with the frame asked
    for, but frames asked for in rising order cost one pass.
    """

    def __init__(self, forward: torch.Tensor, backward: torch.Tensor | None = None) -> None:
        self.forward = checked_flow(forward)
        self.backward = None if backward is None else checked_flow(backward)
        if self.backward is not None and self.backward.shape != self.forward.shape:
            raise InputError(
                f"backward flow {list(self.backward.shape)} must have the forward flow's shape {list(self.forward.shape)}"
            )
        self.frames, self.height, self.width = len(self.forward) + 1, *self.forward.shape[2:]
        self._sheet: Sheet | None = None
        self._seams: dict[int, torch.Tensor] = {}
        self._frame = 0

    def flow(self) -> torch.Tensor:
        return self.forward

    def origin(self, step: int, device: torch.device) -> Origin:
        """Where the pixels of frame step + 1 were in frame `step`."""
        later = min(step + 1, len(self.forward) - 1)
        forward, following = (self.forward[t].to(device) for t in (step, later))
        given = None if self.backward is None else self.backward[step].to(device)
        own, next_own = (
            self._seams_of(step, forward),
            self._seams_of(later, following) if given is None else seams(given),
        )
        return traced_back(forward, given, following, own, next_own)

    def _seams_of(self, step: int, flow: torch.Tensor) -> torch.Tensor:
        """Seams of the forward flow of a step, kept as long as the next step may ask for them again."""
        if step not in self._seams or self._seams[step].device != flow.device:
            self._seams = {t: found for t, found in self._seams.items() if t == step - 1} | {step: seams(flow)}
        return self._seams[step]

    def texture(self, frame: int, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        layer, dx, dy = self._at(frame, x.device).sample(x, y)
        return layer, x + dx, y + dy

    def _at(self, frame: int, device: torch.device) -> Sheet:
        sheet = self._sheet
        if sheet is None or self._frame > frame or sheet.device != device:
            sheet, self._frame = Sheet.identity(self.height, self.width, device), 0
        while self._frame < frame:
            sheet = sheet.carried(self.origin(self._frame, device), new_layer=self._frame + 1)
            self._frame += 1
        self._sheet = sheet
        return sheet


def as_maps(motion: object) -> TextureMaps:
    """Texture maps of whatever the user gave as `motion`. InputError where it has neither maps nor flow."""
    if isinstance(motion, TextureMaps):
        return motion
    return as_flow(motion)


def as_flow(motion: object) -> FlowMaps:
    """Flow of whatever the user gave as `motion`. InputError where it has none."""
    import torch

    if isinstance(motion, FlowMaps):
        return motion
    if isinstance(motion, FlowMotion):
        return FlowMaps(motion.flow())
    if isinstance(motion, torch.Tensor) or hasattr(motion, "__array__"):
        return FlowMaps(torch.as_tensor(motion))
    raise InputError(
        f"motion={type(motion).__name__} gives no flow: pass a flow stack [frames - 1, 2, height, width], "
        "or an object with flow() (any method) or texture() (method:texture)"
    )


def checked_flow(flow: torch.Tensor) -> torch.Tensor:
    """A flow stack in fp32. InputError where its shape or values cannot be flow."""
    import torch

    flow = torch.as_tensor(flow)
    if flow.ndim != 4 or flow.shape[1] != 2 or 0 in flow.shape[2:]:
        raise InputError(
            f"flow {list(flow.shape)} must be [frames - 1, 2, height, width]: dx and dy in px from each frame to the next"
        )
    flow = flow.float()
    bad = ~flow.isfinite().flatten(1).all(1)
    if bad.any():
        first = int(bad.nonzero()[0, 0])
        raise InputError(
            f"flow from frame {first} to {first + 1} has NaN or infinite values; set unknown flow to 0 or mend the file"
        )
    return flow
