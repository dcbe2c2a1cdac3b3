"""Which noise, which steps: solvers by name (from diffusers) and addressed noise. Installed as `videogen.schedulers`.

Knows no model family, no pipeline and no video file.
"""

from .noise import AddressedNoise, DiffusersNoise, NoiseSource
from .solvers import SOLVERS, Solver, make_solver, prediction_kind, solver_names

__all__ = [
    "SOLVERS",
    "AddressedNoise",
    "DiffusersNoise",
    "NoiseSource",
    "Solver",
    "make_solver",
    "prediction_kind",
    "solver_names",
]
