"""Predictors of cached features between key steps, by name: one row per predictor. No torch here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PredictorKind:
    """order: 0 holds features, 1 follows their line. in_sigma: a line in sigma, not in the log signal-to-noise ratio.
    probes: the line's length is measured on the front blocks. default_cut: of `boundary="auto"`. only_cut: the kind of
    cut that it needs; None: any."""

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
