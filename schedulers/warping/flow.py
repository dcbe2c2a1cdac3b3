"""Flow turned round and composed: the displacement from each pixel back to frame 0, kept apart by layers.

Displacements are interpolated, never positions or noise, and never across a layer's border or a tear. Units as in
`warp_maps`. Legend: h height, w width, n points of any shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .seams import SHARE, mend_beside

if TYPE_CHECKING:
    import torch

_ROUNDS = 12  # fixed-point rounds; each shrinks the error by the flow's slope
_DONE_PX = 1e-3
_OWN_PX, _GIVEN_PX = (
    0.5,
    1.0,
)  # disagreement allowed of our own inverse and of a measured backward flow, besides SHARE of its length
_TEAR_PX = 2.0  # neighbours whose displacements differ by more are not of one surface


@dataclass(frozen=True)
class Origin:
    """Where the pixels of a frame were one frame before. displacement [2, h, w] back to there; holds bool [h, w]: it
    can be trusted; support [2, h, w]: a point (x, y) of the same surface, to read the earlier frame's map at."""

    displacement: torch.Tensor
    holds: torch.Tensor
    support: torch.Tensor


def traced_back(
    forward: torch.Tensor,
    given: torch.Tensor | None,
    following: torch.Tensor,
    forward_seams: torch.Tensor,
    seen_seams: torch.Tensor,
) -> Origin:
    """The origin of each pixel of the later frame, from the flow [2, h, w] that leads there.

    given: a measured backward flow, taken as it is. Without it the forward flow is inverted, and `following` (the flow
    from the later frame on) says how what is seen there moves: where surfaces overlap, that tells which of them it is.
    The `seams` of the flow and of what says how the later frame moves (given or following) come from the caller, who
    may know them.
    """
    import torch

    x, y = pixel_centres(forward)
    seen = following if given is None else -given
    back = -seen
    for _ in range(_ROUNDS if given is None else 0):
        moved = interpolated(forward, x + back[0], y + back[1]).neg_()
        change = back.sub_(moved).abs_().amax()
        back = moved
        if float(change) < _DONE_PX:
            break
    error = (back + interpolated(forward, x + back[0], y + back[1])).square().sum(0).sqrt()
    allowed = _OWN_PX if given is None else _GIVEN_PX
    holds = error <= allowed + SHARE * back.square().sum(0).sqrt()
    origin = Origin(back, holds, torch.stack([x, y]) + back)
    if forward_seams.any():
        seen_seams = seen_seams | (
            interpolated(forward_seams[None].float(), x - seen[0], y - seen[1], "nearest")[0] > 0
        )
    mend_beside(seen_seams, forward, seen, origin.displacement if given is None else None, origin.holds, origin.support)
    return origin


def pixel_centres(like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x [h, w] and y [h, w] of the pixels of a field [..., h, w]."""
    import torch

    y, x = (torch.arange(n, device=like.device, dtype=torch.float32) + 0.5 for n in like.shape[-2:])
    y, x = torch.meshgrid(y, x, indexing="ij")
    return x, y


def interpolated(field: torch.Tensor, x: torch.Tensor, y: torch.Tensor, mode: str = "bilinear") -> torch.Tensor:
    """A field [c, h, w] at points [n] -> [c, n]; outside the picture, its border's values."""
    import torch
    from torch.nn.functional import grid_sample

    height, width = field.shape[-2:]
    across, down = (x * (2 / width)).sub_(1), (y * (2 / height)).sub_(1)
    grid = torch.view_as_real(torch.complex(across, down))  # side by side, several times faster than by stack
    return grid_sample(field[None], grid.view(1, 1, -1, 2), mode=mode, padding_mode="border", align_corners=False).view(
        -1, *x.shape
    )


@dataclass(frozen=True)
class Sheet:
    """One frame's map: u = x + displacement on a layer. displacement fp32 [2, h, w], layer fp32 [h, w] (whole
    numbers)."""

    displacement: torch.Tensor
    layer: torch.Tensor

    @property
    def device(self) -> torch.device:
        return self.layer.device

    @staticmethod
    def identity(height: int, width: int, device: torch.device) -> Sheet:
        import torch

        return Sheet(torch.zeros(2, height, width, device=device), torch.zeros(height, width, device=device))

    def carried(self, origin: Origin, new_layer: int) -> Sheet:
        """The next frame's map: what was there is now here; where the origin does not hold, a new layer begins."""
        import torch

        layer, dx, dy = self.sample(*origin.support)
        displacement = torch.where(origin.holds, torch.stack([dx, dy]) + origin.displacement, 0)
        return Sheet(displacement, torch.where(origin.holds, layer.float(), float(new_layer)))

    def sample(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Layer (int32), dx, dy at points [n]: between pixels of one surface interpolated, elsewhere the nearest
        pixel's."""
        import torch

        smooth = interpolated(self.displacement, x, y)
        whole = self._whole()
        if bool(whole.all()):
            return torch.full_like(x, int(self.layer[0, 0]), dtype=torch.int32), smooth[0], smooth[1]
        near = interpolated(torch.cat([self.displacement, self.layer[None]]), x, y, "nearest")
        inside = interpolated(whole[None].float(), x + 0.5, y + 0.5, "nearest")[0] > 0.5
        dx, dy = torch.where(inside, smooth, near[:2])
        return near[2].round().to(torch.int32), dx, dy

    def _whole(self) -> torch.Tensor:
        """Whether pixels (y - 1, x - 1) to (y, x) are one surface, bool [h + 1, w + 1]; the rim repeats the border."""
        whole = (_spread(self.displacement) <= _TEAR_PX).all(0)
        if bool((self.layer != self.layer[0, 0]).any()):
            whole &= _spread(self.layer[None])[0] == 0
        return whole


def _spread(fields: torch.Tensor) -> torch.Tensor:
    """Largest less smallest of each 2 x 2 neighbours, [c, h + 1, w + 1] of fields [c, h, w] whose rim repeats the
    border."""
    import torch
    from torch.nn.functional import pad

    field = pad(fields[None], (1, 1, 1, 1), mode="replicate")[0]
    rows = [f(field[..., :-1, :], field[..., 1:, :]) for f in (torch.maximum, torch.minimum)]
    high, low = (f(m[..., :-1], m[..., 1:]) for f, m in zip((torch.maximum, torch.minimum), rows, strict=True))
    return high.sub_(low)
