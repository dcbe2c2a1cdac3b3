"""Which noise, which steps: solvers by name (from diffusers), addressed and warped noise. Installed as `videogen.schedulers`.

Knows no model family, no pipeline and no video file.
"""

from .noise import AddressedNoise, DiffusersNoise, NoiseSource
from .solvers import SOLVERS, Solver, make_solver, prediction_kind, solver_names
from .warped import WarpedNoise, warped_noise

__all__ = [
    "SOLVERS",
    "AddressedNoise",
    "DiffusersNoise",
    "NoiseSource",
    "Solver",
    "WarpedNoise",
    "make_solver",
    "prediction_kind",
    "solver_names",
    "warped_noise",
]
