"""Muon for weight matrices and convolutions, AdamW for the rest, as one optimizer.

Muon (K. Jordan, 2024): momentum, then the nearest orthogonal matrix by five Newton-Schulz steps, scaled so that an
update is as large as AdamW's at the same learning rate (Liu et al. 2502.16982, section 2.2). Convolutions count as
matrices [out, in * kernel].
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalise(matrix: torch.Tensor) -> torch.Tensor:
    """The nearest (semi-)orthogonal matrix to [rows, columns], singular values to within about 0.3 of 1."""
    x = matrix / (matrix.norm() + 1e-7)
    if tall := x.shape[0] > x.shape[1]:
        x = x.T
    for _ in range(5):
        gram = x @ x.T
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return x.T if tall else x


class MuonAdamW(torch.optim.Optimizer):
    """`matrices` by Muon and the other parameters of `modules` by AdamW; one learning rate for both."""

    def __init__(self, modules: Iterable[nn.Module], lr: float, weight_decay: float = 1e-3) -> None:
        hidden, other = split_parameters(modules)
        groups = [{"params": hidden, "muon": True}, {"params": other, "muon": False}]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # closures are not supported
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update = (self._muon if group["muon"] else self._adam)(parameter, parameter.grad)
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"])

    def _muon(self, parameter: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
        state = self.state[parameter]
        momentum = state.setdefault("momentum", torch.zeros_like(parameter))
        momentum.lerp_(grad, 0.05)
        update = grad.lerp(momentum, 0.95).flatten(1)
        return (orthogonalise(update) * (0.2 * max(update.shape) ** 0.5)).view_as(parameter)

    def _adam(self, parameter: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
        state = self.state[parameter]
        mean = state.setdefault("mean", torch.zeros_like(parameter))
        square = state.setdefault("square", torch.zeros_like(parameter))
        state["count"] = count = state.get("count", 0) + 1
        mean.lerp_(grad, 0.1)
        square.lerp_(grad.square(), 0.02)
        return (mean / (1 - 0.9**count)) / ((square / (1 - 0.98**count)).sqrt() + 1e-8)


def split_parameters(modules: Iterable[nn.Module]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """(hidden weights, the rest): embeddings, biases, norms, and weights with a side below 8 are not for Muon."""
    hidden: list[nn.Parameter] = []
    other: list[nn.Parameter] = []
    for module in modules:
        embeddings = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
        for parameter in module.parameters():
            if not parameter.requires_grad:
                continue
            matrix = parameter.ndim >= 2 and id(parameter) not in embeddings and min(parameter.flatten(1).shape) >= 8
            (hidden if matrix and parameter.shape[0] > 1 else other).append(parameter)
    return hidden, other
