"""Seams of a flow: the borders between surfaces that move differently, and the pixel of the earlier frame that belongs
to the surface visible there.

Without this, slow edges smear: a disocclusion of less than a pixel looks like a stretched surface. Units as in `maps`.
Legend: h height, w width, n pixels near seams.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

TOLERANCE = 0.05  # relative difference allowed, in addition to an absolute one, between two motions of one surface
_KINK_PX = 0.2  # a second difference of the flow that no smooth motion has
_SEAM_PX = 0.2  # near a seam, motions that differ by more belong to two surfaces
_PART = 1 << 16  # pixels processed at once on a CPU, so that they fit its cache


def seams(flow: torch.Tensor) -> torch.Tensor:
    """Pixels within 2 of a kink in a flow [2, h, w], bool [h, w]. Smooth zooms have none."""
    from torch.nn.functional import pad

    height, width = flow.shape[1:]
    triples = (flow[:, :, :-2], flow[:, :, 1:-1], flow[:, :, 2:]), (flow[:, :-2], flow[:, 1:-1], flow[:, 2:])
    across, down = ((after - 2 * here + before).abs_().sum(0) > _KINK_PX for before, here, after in triples)
    kinks = pad(across, (1, 1))[:, :width] | pad(down, (0, 0, 1, 1))[:height]
    return _dilate(_dilate(kinks, 0), 1) if kinks.any() else kinks


def _dilate(mask: torch.Tensor, axis: int) -> torch.Tensor:
    """Dilation by 2 pixels to either side along an axis."""
    wide = mask.clone()
    for step in range(1, min(3, mask.shape[axis])):
        size = mask.shape[axis] - step
        wide.narrow(axis, step, size).logical_or_(mask.narrow(axis, 0, size))
        wide.narrow(axis, 0, size).logical_or_(mask.narrow(axis, step, size))
    return wide


def fix_near_seams(
    seam: torch.Tensor,
    forward: torch.Tensor,
    later_motion: torch.Tensor,
    displacement: torch.Tensor | None,
    valid: torch.Tensor,
    support: torch.Tensor,
) -> None:
    """Near seams bool [h, w], read the earlier frame at a pixel that moves like the visible surface, or mark the origin
    as invalid; in place.

    forward: flow [2, h, w] from the earlier frame. later_motion: motion of the surface visible in the later frame.
    displacement (None: leave it), valid and support as in `flow.Origin`.
    """
    width = seam.shape[1]
    index = seam.flatten().nonzero()[:, 0]
    if not len(index):
        return
    for some in index.split(_PART if index.device.type == "cpu" else len(index)):
        motion = later_motion.flatten(1).index_select(1, some)
        place = _columns_and_rows(some, width) + 0.5 - motion
        allowed = _SEAM_PX + TOLERANCE * motion.square().sum(0).sqrt()
        mixed = (~_one_surface(forward, place - 0.5, motion, allowed)).nonzero()[:, 0]
        some, motion, place, allowed = (m.index_select(-1, mixed) for m in (some, motion, place, allowed))
        pixel = _most_similar(forward, place, motion)
        support.flatten(1)[:, some] = _columns_and_rows(pixel, width) + 0.5
        valid.flatten()[some] = _motion_distance(forward, pixel, motion) <= allowed
        if displacement is not None:
            displacement.flatten(1)[:, some] = -forward.flatten(1).index_select(1, pixel)


def _one_surface(flow: torch.Tensor, place: torch.Tensor, motion: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """Whether the 4 pixels around places [2, n] all have the given motion, within a tolerance [n]."""
    import torch

    one = torch.ones_like(allowed, dtype=torch.bool)
    for pixel, _ in _around(place, flow.shape[1:], (0, 1)):
        one &= _motion_distance(flow, pixel, motion) <= allowed
    return one


def _most_similar(flow: torch.Tensor, place: torch.Tensor, motion: torch.Tensor) -> torch.Tensor:
    """Index int32 [n] of the pixel, of the 9 around places [2, n], whose motion is closest to the given one; the
    nearest on ties."""
    import torch

    least = torch.full_like(place[0], float("inf"))
    best = torch.zeros_like(place[0], dtype=torch.int32)
    for pixel, far in _around(place, flow.shape[1:], (-1, 0, 1)):
        score = far.sqrt_().mul_(0.01).add_(_motion_distance(flow, pixel, motion))
        best = torch.where(score < least, pixel, best)
        torch.minimum(least, score, out=least)
    return best


def _around(
    place: torch.Tensor, size: torch.Size, offsets: tuple[int, ...]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Pixels around places [2, n], clamped at the border: index int32 [n], and squared distance [n]."""
    import torch

    lines = []
    for at, pixels in zip(place, reversed(size), strict=True):
        near = [(at.floor() + offset).clamp_(0, pixels - 1) for offset in offsets]
        lines.append([(m.to(torch.int32), (m + 0.5 - at).square_()) for m in near])
    for row, down in lines[1]:
        row *= size[1]
        for column, across in lines[0]:
            yield row + column, across + down


def _motion_distance(flow: torch.Tensor, pixel: torch.Tensor, motion: torch.Tensor) -> torch.Tensor:
    """Distance in px between the flow at pixels [n] and motions [2, n]."""
    dx, dy = (f.index_select(0, pixel).sub_(m).square_() for f, m in zip(flow.flatten(1), motion, strict=True))
    return dx.add_(dy).sqrt_()


def _columns_and_rows(pixel: torch.Tensor, width: int) -> torch.Tensor:
    import torch

    return torch.stack([pixel % width, pixel // width])
