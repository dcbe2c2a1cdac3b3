"""Flow turned round and composed: the displacement from each pixel back to frame 0, kept apart by layers.

Displacements are interpolated, never positions or noise, and never across a layer's border or a tear. Units as in `warp_maps`.
Legend: h height, w width, n points of any shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_ROUNDS = 12  # fixed-point rounds; each shrinks the error by the flow's slope
_DONE_PX = 1e-3
_OWN_PX, _GIVEN_PX = 0.5, 1.0  # disagreement allowed of our own inverse and of a measured backward flow,
_SHARE = 0.05  # and this share of the flow besides
_KINK_PX = 0.2  # second difference of the flow that no smooth motion has
_SEAM_PX = 0.2  # beside a seam, motions that differ by more are of two surfaces
_TEAR_PX = 2.0  # neighbours whose displacements differ by more are not of one surface


@dataclass(frozen=True)
class Origin:
    """Where the pixels of a frame were one frame before. displacement [2, h, w] back to there; holds bool [h, w]: it can be trusted;
    support [2, h, w]: a point (x, y) of the same surface, to read the earlier frame's map at."""

    displacement: torch.Tensor
    holds: torch.Tensor
    support: torch.Tensor


def traced_back(forward: torch.Tensor, given: torch.Tensor | None, following: torch.Tensor) -> Origin:
    """The origin of each pixel of the later frame, from the flow [2, h, w] that leads there.

    given: a measured backward flow, taken as it is. Without it the forward flow is inverted, and `following` (the flow from the
    later frame on) says how what is seen there moves: where surfaces overlap, that tells which of them it is.
    """
    import torch

    x, y = pixel_centres(forward)
    seen = following if given is None else -given
    back = -seen
    for _ in range(_ROUNDS if given is None else 0):
        moved = -interpolated(forward, x + back[0], y + back[1])
        change = (moved - back).abs().amax()
        back = moved
        if float(change) < _DONE_PX:
            break
    error = (back + interpolated(forward, x + back[0], y + back[1])).square().sum(0).sqrt()
    allowed = _OWN_PX if given is None else _GIVEN_PX
    holds = error <= allowed + _SHARE * back.square().sum(0).sqrt()
    origin = Origin(back, holds, torch.stack([x, y]) + back)
    seam = interpolated(_seams(forward)[None].float(), x - seen[0], y - seen[1], "nearest")[0] > 0
    return _beside_seams(origin, forward, seen, seam | _seams(seen), keep=given is not None)


def _seams(flow: torch.Tensor) -> torch.Tensor:
    """Where surfaces that move differently meet: pixels within 2 of a kink in the flow, bool [h, w]. Smooth zooms have none."""
    from torch.nn.functional import max_pool2d, pad

    across = pad((flow[:, :, 2:] - 2 * flow[:, :, 1:-1] + flow[:, :, :-2]).abs().sum(0), (1, 1))
    down = pad((flow[:, 2:] - 2 * flow[:, 1:-1] + flow[:, :-2]).abs().sum(0), (0, 0, 1, 1))
    return max_pool2d(((across > _KINK_PX) | (down > _KINK_PX)).float()[None], 5, 1, 2)[0] > 0


def _beside_seams(origin: Origin, forward: torch.Tensor, seen: torch.Tensor, seam: torch.Tensor, keep: bool) -> Origin:
    """Beside seams nothing is interpolated across them: a pixel of the earlier frame that moves as what is seen does, or none.

    Without this, slow edges smear: over less than a pixel, uncovered ground passes for a stretched surface.
    """
    import torch

    height, width = seam.shape
    index = seam.flatten().nonzero()[:, 0]
    motion = seen.flatten(1)[:, index]
    place = torch.stack([index % width, index // width]) + 0.5 - motion
    allowed = _SEAM_PX + _SHARE * motion.square().sum(0).sqrt()
    _, _, apart = _neighbours(forward, place - 0.5, motion, (0, 1))
    mixed = (apart > allowed).any(0)
    index, motion, place, allowed = index[mixed], motion[:, mixed], place[:, mixed], allowed[mixed]
    near, moves, apart = _neighbours(forward, place, motion, (-1, 0, 1))
    best = (apart + 0.01 * (near + 0.5 - place[:, None]).square().sum(0).sqrt()).argmin(0)
    pick = torch.arange(len(best), device=best.device)
    displacement, holds, support = (t.flatten(-2).clone() for t in (origin.displacement, origin.holds, origin.support))
    support[:, index] = near[:, best, pick] + 0.5
    holds[index] = apart[best, pick] <= allowed
    if not keep:
        displacement[:, index] = -moves[:, best, pick]
    return Origin(*(t.view(*t.shape[:-1], height, width) for t in (displacement, holds, support)))


def _neighbours(
    flow: torch.Tensor, place: torch.Tensor, motion: torch.Tensor, offsets: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pixels around places [2, n]: their columns and rows [2, k, n], their flow [2, k, n], and how far it is from a motion [k, n]."""
    import torch

    height, width = flow.shape[1:]
    limits = torch.tensor([width - 1, height - 1], device=flow.device).view(2, 1, 1)
    around = torch.tensor([(dx, dy) for dy in offsets for dx in offsets], device=flow.device).T[:, :, None]
    near = (place.floor().long()[:, None] + around).clamp(min=0).minimum(limits)
    moves = flow.flatten(1)[:, near[1] * width + near[0]]
    return near, moves, (moves - motion[:, None]).square().sum(0).sqrt()


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
    grid = torch.stack([x * (2 / width) - 1, y * (2 / height) - 1], -1).view(1, 1, -1, 2)
    return grid_sample(field[None], grid, mode=mode, padding_mode="border", align_corners=False).view(-1, *x.shape)


@dataclass(frozen=True)
class Sheet:
    """One frame's map: u = x + displacement on a layer. displacement fp32 [2, h, w], layer fp32 [h, w] (whole numbers)."""

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
        """Layer (int32), dx, dy at points [n]: between pixels of one surface interpolated, elsewhere the nearest pixel's."""
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
        from torch.nn.functional import pad

        fields = pad(self.displacement[None], (1, 1, 1, 1), mode="replicate")[0]
        layer = pad(self.layer[None, None], (1, 1, 1, 1), mode="replicate")[0]
        spreads = [_spread(f) for f in (*fields, layer[0])]
        return (spreads[0] <= _TEAR_PX) & (spreads[1] <= _TEAR_PX) & (spreads[2] == 0)


def _spread(field: torch.Tensor) -> torch.Tensor:
    """Largest less smallest of each 2 x 2 neighbours, [h - 1, w - 1] of a field [h, w]."""
    import torch

    corners = torch.stack([field[:-1, :-1], field[:-1, 1:], field[1:, :-1], field[1:, 1:]])
    return corners.amax(0) - corners.amin(0)
