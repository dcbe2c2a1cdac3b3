"""Predictors of cached features between key steps, by name: one row per predictor. Importing this loads no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PredictorKind:
    """One predictor.

    order: 0 holds the features, 1 extrapolates them linearly. in_sigma: linear in sigma instead of the log
    signal-to-noise ratio. probes: the length of the extrapolation is measured on the front blocks. default_cut: the cut
    that `boundary="auto"` stands for. only_cut: the kind of cut that it needs; None: any.
    """

    order: int
    in_sigma: bool = False
    probes: bool = False
    default_cut: str = "output"
    only_cut: str | None = None


PREDICTORS: dict[str, PredictorKind] = {
    "auto": PredictorKind(order=1),
    "hold": PredictorKind(order=0),
    "linear": PredictorKind(order=1),
    "sigma": PredictorKind(order=1, in_sigma=True),
    "probe": PredictorKind(order=1, probes=True, default_cut="blocks:1,1", only_cut="blocks"),
}
