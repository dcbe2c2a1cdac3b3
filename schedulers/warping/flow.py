"""Inversion and composition of flow: the displacement of each pixel back to frame 0, separately for each layer.

Displacements are interpolated, never positions or noise, and never across a layer's border or a tear. Units as in
`maps`. Legend: h height, w width, n points of any shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .seams import TOLERANCE, fix_near_seams

if TYPE_CHECKING:
    import torch

_ROUNDS = 12  # fixed-point iterations; each reduces the error by the flow's slope
_DONE_PX = 1e-3
# Disagreement allowed for a computed inverse and for a measured backward flow, in addition to TOLERANCE of its length.
_INVERSE_PX, _MEASURED_PX = 0.5, 1.0
_TEAR_PX = 2.0  # neighbours whose displacements differ by more belong to different surfaces


@dataclass(frozen=True)
class Origin:
    """Positions of the pixels of a frame in the frame before. displacement [2, h, w]: back to that position; valid bool
    [h, w]: whether it can be trusted; support [2, h, w]: a point (x, y) of the same surface at which the earlier
    frame's map is read."""

    displacement: torch.Tensor
    valid: torch.Tensor
    support: torch.Tensor


def trace_back(
    forward: torch.Tensor,
    measured: torch.Tensor | None,
    following: torch.Tensor,
    forward_seams: torch.Tensor,
    later_seams: torch.Tensor,
) -> Origin:
    """The origin of each pixel of the later frame, from the flow [2, h, w] that leads to it.

    measured: a measured backward flow, used unchanged. Without it the forward flow is inverted, and `following` (the
    flow from the later frame on) resolves overlaps: the visible surface is the one that moves like the pixel does next.
    forward_seams, later_seams: `seams` of the forward flow and of the motion of the later frame (measured or
    following), passed by the caller, which may have cached them.
    """
    import torch

    x, y = pixel_centres(forward)
    motion = following if measured is None else -measured
    back = -motion
    for _ in range(_ROUNDS if measured is None else 0):
        moved = interpolate(forward, x + back[0], y + back[1]).neg_()
        change = back.sub_(moved).abs_().amax()
        back = moved
        if float(change) < _DONE_PX:
            break
    error = (back + interpolate(forward, x + back[0], y + back[1])).square().sum(0).sqrt()
    allowed = _INVERSE_PX if measured is None else _MEASURED_PX
    valid = error <= allowed + TOLERANCE * back.square().sum(0).sqrt()
    origin = Origin(back, valid, torch.stack([x, y]) + back)
    if forward_seams.any():
        later_seams = later_seams | (
            interpolate(forward_seams[None].float(), x - motion[0], y - motion[1], "nearest")[0] > 0
        )
    displacement = origin.displacement if measured is None else None
    fix_near_seams(later_seams, forward, motion, displacement, origin.valid, origin.support)
    return origin


def pixel_centres(like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x [h, w] and y [h, w] of the pixels of a field [..., h, w]."""
    import torch

    y, x = (torch.arange(n, device=like.device, dtype=torch.float32) + 0.5 for n in like.shape[-2:])
    y, x = torch.meshgrid(y, x, indexing="ij")
    return x, y


def interpolate(field: torch.Tensor, x: torch.Tensor, y: torch.Tensor, mode: str = "bilinear") -> torch.Tensor:
    """A field [c, h, w] at points [n] -> [c, n]; outside the image, the values of its border."""
    import torch
    from torch.nn.functional import grid_sample

    height, width = field.shape[-2:]
    across, down = (x * (2 / width)).sub_(1), (y * (2 / height)).sub_(1)
    grid = torch.view_as_real(torch.complex(across, down))  # interleaved, several times faster than stack
    return grid_sample(field[None], grid.view(1, 1, -1, 2), mode=mode, padding_mode="border", align_corners=False).view(
        -1, *x.shape
    )


@dataclass(frozen=True)
class DisplacementMap:
    """Backward map of one frame: u = x + displacement on a layer. displacement fp32 [2, h, w], layer fp32 [h, w]
    (integers)."""

    displacement: torch.Tensor
    layer: torch.Tensor

    @property
    def device(self) -> torch.device:
        return self.layer.device

    @staticmethod
    def identity(height: int, width: int, device: torch.device) -> DisplacementMap:
        import torch

        return DisplacementMap(torch.zeros(2, height, width, device=device), torch.zeros(height, width, device=device))

    def advance(self, origin: Origin, new_layer: int) -> DisplacementMap:
        """The map of the next frame, composed with its origin; where the origin is not valid, a new layer begins."""
        import torch

        layer, dx, dy = self.sample(*origin.support)
        displacement = torch.where(origin.valid, torch.stack([dx, dy]) + origin.displacement, 0)
        return DisplacementMap(displacement, torch.where(origin.valid, layer.float(), float(new_layer)))

    def sample(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Layer (int32), dx, dy at points [n]: interpolated between pixels of one surface, elsewhere from the nearest
        pixel."""
        import torch

        smooth = interpolate(self.displacement, x, y)
        one_surface = self._one_surface()
        if bool(one_surface.all()):
            return torch.full_like(x, int(self.layer[0, 0]), dtype=torch.int32), smooth[0], smooth[1]
        near = interpolate(torch.cat([self.displacement, self.layer[None]]), x, y, "nearest")
        inside = interpolate(one_surface[None].float(), x + 0.5, y + 0.5, "nearest")[0] > 0.5
        dx, dy = torch.where(inside, smooth, near[:2])
        return near[2].round().to(torch.int32), dx, dy

    def _one_surface(self) -> torch.Tensor:
        """Whether pixels (y - 1, x - 1) to (y, x) belong to one surface, bool [h + 1, w + 1]; the border is
        replicated."""
        result = (_range_of_neighbours(self.displacement) <= _TEAR_PX).all(0)
        if bool((self.layer != self.layer[0, 0]).any()):
            result &= _range_of_neighbours(self.layer[None])[0] == 0
        return result


def _range_of_neighbours(fields: torch.Tensor) -> torch.Tensor:
    """Maximum minus minimum of each 2 x 2 neighbourhood of fields [c, h, w], [c, h + 1, w + 1]; the border is
    replicated."""
    import torch
    from torch.nn.functional import pad

    field = pad(fields[None], (1, 1, 1, 1), mode="replicate")[0]
    rows = [f(field[..., :-1, :], field[..., 1:, :]) for f in (torch.maximum, torch.minimum)]
    high, low = (f(m[..., :-1], m[..., 1:]) for f, m in zip((torch.maximum, torch.minimum), rows, strict=True))
    return high.sub_(low)
