"""Seams of a flow: where surfaces that move differently meet, and which pixel of the earlier frame is of the surface
seen there.

Without this, slow edges smear: over less than a pixel, uncovered ground passes for a stretched surface. Units as in
`warp_maps`. Legend: h height, w width, n pixels beside seams.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SHARE = 0.05  # of a motion's length, by which two that are one may differ besides
_KINK_PX = 0.2  # second difference of the flow that no smooth motion has
_SEAM_PX = 0.2  # beside a seam, motions that differ by more are of two surfaces
_PART = 1 << 16  # pixels handled at once on a CPU: they fit its cache


def seams(flow: torch.Tensor) -> torch.Tensor:
    """Pixels within 2 of a kink in a flow [2, h, w], bool [h, w]. Smooth zooms have none."""
    from torch.nn.functional import pad

    height, width = flow.shape[1:]
    triples = (flow[:, :, :-2], flow[:, :, 1:-1], flow[:, :, 2:]), (flow[:, :-2], flow[:, 1:-1], flow[:, 2:])
    across, down = ((after - 2 * here + before).abs_().sum(0) > _KINK_PX for before, here, after in triples)
    kinks = pad(across, (1, 1))[:, :width] | pad(down, (0, 0, 1, 1))[:height]
    return _widened(_widened(kinks, 0), 1) if kinks.any() else kinks


def _widened(mask: torch.Tensor, axis: int) -> torch.Tensor:
    """Whether any of the 5 pixels around each along an axis is set."""
    wide = mask.clone()
    for step in range(1, min(3, mask.shape[axis])):
        size = mask.shape[axis] - step
        wide.narrow(axis, step, size).logical_or_(mask.narrow(axis, 0, size))
        wide.narrow(axis, 0, size).logical_or_(mask.narrow(axis, step, size))
    return wide


def mend_beside(
    seam: torch.Tensor,
    forward: torch.Tensor,
    seen: torch.Tensor,
    displacement: torch.Tensor | None,
    holds: torch.Tensor,
    support: torch.Tensor,
) -> None:
    """Beside seams bool [h, w], read the earlier frame at a pixel that moves as what is seen does, or nowhere; in
    place.

    forward: flow [2, h, w] from the earlier frame. seen: how what is seen now moves. displacement (None: keep it),
    holds and support as in `warp_flow.Origin`.
    """
    width = seam.shape[1]
    index = seam.flatten().nonzero()[:, 0]
    if not len(index):
        return
    for some in index.split(_PART if index.device.type == "cpu" else len(index)):
        motion = seen.flatten(1).index_select(1, some)
        place = _columns_and_rows(some, width) + 0.5 - motion
        allowed = _SEAM_PX + SHARE * motion.square().sum(0).sqrt()
        mixed = (~_one_surface(forward, place - 0.5, motion, allowed)).nonzero()[:, 0]
        some, motion, place, allowed = (m.index_select(-1, mixed) for m in (some, motion, place, allowed))
        pixel = _likest(forward, place, motion)
        support.flatten(1)[:, some] = _columns_and_rows(pixel, width) + 0.5
        holds.flatten()[some] = _apart(forward, pixel, motion) <= allowed
        if displacement is not None:
            displacement.flatten(1)[:, some] = -forward.flatten(1).index_select(1, pixel)


def _one_surface(flow: torch.Tensor, place: torch.Tensor, motion: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """Whether the 4 pixels around places [2, n] all move as told, but for what is allowed [n]."""
    import torch

    one = torch.ones_like(allowed, dtype=torch.bool)
    for pixel, _ in _around(place, flow.shape[1:], (0, 1)):
        one &= _apart(flow, pixel, motion) <= allowed
    return one


def _likest(flow: torch.Tensor, place: torch.Tensor, motion: torch.Tensor) -> torch.Tensor:
    """Of the 9 pixels around places [2, n], the one that moves most as told, of equals the nearest: its number int32
    [n]."""
    import torch

    least = torch.full_like(place[0], float("inf"))
    best = torch.zeros_like(place[0], dtype=torch.int32)
    for pixel, far in _around(place, flow.shape[1:], (-1, 0, 1)):
        score = far.sqrt_().mul_(0.01).add_(_apart(flow, pixel, motion))
        best = torch.where(score < least, pixel, best)
        torch.minimum(least, score, out=least)
    return best


def _around(
    place: torch.Tensor, size: torch.Size, offsets: tuple[int, ...]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Pixels around places [2, n], held at the border: number int32 [n], and squared distance [n]."""
    import torch

    lines = []
    for at, pixels in zip(place, reversed(size), strict=True):
        near = [(at.floor() + offset).clamp_(0, pixels - 1) for offset in offsets]
        lines.append([(m.to(torch.int32), (m + 0.5 - at).square_()) for m in near])
    for row, down in lines[1]:
        row *= size[1]
        for column, across in lines[0]:
            yield row + column, across + down


def _apart(flow: torch.Tensor, pixel: torch.Tensor, motion: torch.Tensor) -> torch.Tensor:
    """Px between the flow at pixels [n] and motions [2, n]."""
    dx, dy = (m.index_select(0, pixel).sub_(own).square_() for m, own in zip(flow.flatten(1), motion, strict=True))
    return dx.add_(dy).sqrt_()


def _columns_and_rows(pixel: torch.Tensor, width: int) -> torch.Tensor:
    import torch

    return torch.stack([pixel % width, pixel // width])
