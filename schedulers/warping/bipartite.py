"""Go-with-the-Flow's bipartite noise warp from frame to frame (Burgert et al., CVPR'25, 2501.08331).

Every cell of a frame sends its noise along the flow (contraction); cells that receive nothing fetch theirs from the
position the backward flow points to (expansion). A source with d edges is split by the white-noise bridge q / sqrt(d) +
Z - mean(Z); values that meet in a cell are added by weight and normalised to variance 1; cells without an edge get
fresh noise. The cost is linear in the number of cells, and only cell indices are used: noise values are never compared.
Integer translations stay exact.

Sub-pixel motion is not lost to rounding: the remainder is carried along with the noise (`residual`). `compat` follows
the original implementation of the published LoRAs: it rounds on a grid `oversample` times finer, fetches along minus
the forward flow, and weights by w instead of its square root. Not reproduced from it: its random numbers, its damping
of densities (power .9999), the near-zero weight of new cells, and its false matches. For these LoRAs use compat=True,
oversample=4, spatial=8, temporal=4. Legend: n cells of the grid, e edges, c channels. Flow as in `maps`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .flow import interpolate, pixel_centres
from .hash_noise import HashField
from .maps import FlowMaps

if TYPE_CHECKING:
    import torch

_LIGHTEST, _HEAVIEST = 1e-12, 1e12  # range of weights: zooms of any length stay finite


@dataclass
class _State:
    """noise fp32 [c, n]; weight fp32 [n]; residual fp32 [2, n]: exact position of a cell's noise, relative to the
    cell's centre."""

    noise: torch.Tensor
    weight: torch.Tensor
    residual: torch.Tensor


@dataclass(frozen=True)
class _Edges:
    """Edges of one step: source and target cells int64 [e], an address per edge, and the residual it brings [2, e]."""

    source: torch.Tensor
    target: torch.Tensor
    address: torch.Tensor
    residual: torch.Tensor


class BipartiteNoise:
    """Warped noise of a flow, one latent frame at a time. Frames requested in increasing order cost a single pass."""

    def __init__(
        self,
        maps: FlowMaps,
        *,
        channels: int,
        spatial: int,
        seed: int,
        device: torch.device,
        oversample: int = 1,
        compat: bool = False,
    ) -> None:
        self.maps, self.channels, self.device = maps, channels, device
        self.oversample, self.edge, self.compat = oversample, spatial * oversample, compat
        self.height, self.width = maps.height * oversample, maps.width * oversample
        self._fields = {name: HashField(seed, f"bipartite/{name}") for name in ("fresh", "split")}
        self._state: _State | None = None
        self._frame = 0

    def frame(self, frame: int) -> torch.Tensor:
        """Noise [c, h, w] in fp32 of image `frame`, at latent resolution."""
        if self._state is None or self._frame > frame:
            self._state, self._frame = self._first(), 0
        while self._frame < frame:
            self._state = self._step(self._state, self._frame)
            self._frame += 1
        rows, columns = self.height // self.edge, self.width // self.edge
        cells = self._state.noise.view(self.channels, rows, self.edge, columns * self.edge).sum(2)
        return cells.view(self.channels, rows, columns, self.edge).sum(3) / self.edge

    def _first(self) -> _State:
        import torch

        cells = torch.arange(self.height * self.width, device=self.device)
        weight = torch.ones(len(cells), device=self.device)
        return _State(self._noise("fresh", 0, cells), weight, torch.zeros(2, len(cells), device=self.device))

    def _step(self, state: _State, step: int) -> _State:
        import torch

        edges = self._edges(state, step)
        count = self.height * self.width
        degree = torch.bincount(edges.source, minlength=count)[edges.source]
        sent = self._split(state.noise, edges, degree, step)
        weight = state.weight[edges.source] / degree
        arrived = torch.bincount(edges.target, minlength=count)
        total = torch.zeros_like(state.weight).index_add_(0, edges.target, weight)
        residual = torch.zeros_like(state.residual).index_add_(1, edges.target, weight * edges.residual) / total.clamp(
            min=_LIGHTEST
        )
        noise = self._merge(sent, weight, arrived, edges.target)
        new = (arrived == 0).nonzero()[:, 0]
        noise[:, new] = self._noise("fresh", step + 1, new)
        total = torch.where(arrived > 0, total, 1.0).clamp(_LIGHTEST, _HEAVIEST)
        return _State(noise, total, residual)

    def _edges(self, state: _State, step: int) -> _Edges:
        """Contraction edges of every cell that stays in the image, then expansion edges of the cells without one."""
        import torch

        forward, back, valid = self._flows(step)
        cells = torch.arange(self.height * self.width, device=self.device)
        place = torch.stack([cells % self.width, cells // self.width]).float()
        target, left, inside = self._round(place + state.residual + forward)
        source, target, left = cells[inside], target[inside], left[:, inside]
        empty = (torch.bincount(target, minlength=len(cells)) == 0).nonzero()[:, 0]
        origin, _, reached = self._round((place + back - state.residual)[:, empty])
        reached &= valid[empty]
        empty, origin = empty[reached], origin[reached]
        brought = (place[:, origin] + state.residual[:, origin] - back[:, empty] - place[:, empty]).clamp(-0.5, 0.5)
        residual = torch.cat([left, brought], 1)
        return _Edges(
            torch.cat([source, origin]),
            torch.cat([target, empty]),
            torch.cat([source, len(cells) + empty]),
            torch.zeros_like(residual) if self.compat else residual,
        )

    def _flows(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Forward and backward flow [2, n] in cells of the grid, and where the backward flow is valid [n]."""
        import torch

        forward = self.maps.forward[step].to(self.device)
        if self.compat:
            back, valid = -forward, torch.ones_like(forward[0], dtype=torch.bool)
        else:
            origin = self.maps.origin(step, self.device)
            back, valid = origin.displacement, origin.valid
        if self.oversample > 1:
            x, y = (p / self.oversample for p in pixel_centres(forward.new_empty(self.height, self.width)))
            forward, back, fraction = (interpolate(f, x, y) for f in (forward, back, valid[None].float()))
            valid = fraction[0] > 0.5
        return forward.reshape(2, -1) * self.oversample, back.reshape(2, -1) * self.oversample, valid.flatten()

    def _round(self, place: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Cell indices [n] of places [2, n], the rounding remainder [2, n], and which are inside the image [n]."""
        cell = (place + 0.5).floor()
        inside = (cell[0] >= 0) & (cell[0] < self.width) & (cell[1] >= 0) & (cell[1] < self.height)
        return (cell[1] * self.width + cell[0]).long(), place - cell, inside

    def _split(self, noise: torch.Tensor, edges: _Edges, degree: torch.Tensor, step: int) -> torch.Tensor:
        """Noise on each edge, [c, e]: independent standard normal values whose sum is sqrt(degree) times the source's
        value."""
        import torch

        sent = noise[:, edges.source]
        many = (degree > 1).nonzero()[:, 0]
        if many.numel():
            _, group = torch.unique(edges.source[many], return_inverse=True)
            z = self._noise("split", step, edges.address[many])
            mean = (
                torch.zeros(len(z), int(group.max()) + 1, device=self.device).index_add_(1, group, z)[:, group]
                / degree[many]
            )
            sent[:, many] = sent[:, many] * degree[many].rsqrt() + z - mean
        return sent

    def _merge(
        self, sent: torch.Tensor, weight: torch.Tensor, arrived: torch.Tensor, target: torch.Tensor
    ) -> torch.Tensor:
        """Noise of the targets [c, n]: single arrivals are unchanged, several are added by weight and renormalised."""
        import torch

        noise = torch.zeros(len(sent), arrived.numel(), device=self.device)
        together = arrived[target] > 1
        noise[:, target[~together]] = sent[:, ~together]
        if together.any():
            to = target[together]
            factor = weight[together] if self.compat else weight[together].sqrt()
            cells, group = torch.unique(to, return_inverse=True)
            power = torch.zeros(len(cells), device=self.device).index_add_(0, group, factor.square())
            merged = torch.zeros(len(sent), len(cells), device=self.device).index_add_(
                1, group, sent[:, together] * factor
            )
            noise[:, cells] = merged * power.rsqrt()
        return noise

    def _noise(self, name: str, step: int, cells: torch.Tensor) -> torch.Tensor:
        """Fresh values [c, n] for cells or edges [n] of a step."""
        import torch

        return self._fields[name].at(
            step, (cells % self.width).to(torch.int32), (cells // self.width).to(torch.int32), self.channels
        )
