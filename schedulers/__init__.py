"""Which noise, steps and frames: solvers by name (from diffusers), noise, CoNo, windows. Installed as `videogen.schedulers`.

Knows no model family, no pipeline and no video file.
"""

from .cono import LookBack, look_back, replay
from .noise import AddressedNoise, DiffusersNoise, NoiseSource
from .noise_stream import STREAMS, NoiseStream, NoiseWindow, noise_stream
from .pull import MeanPull, mean_pull
from .solvers import SOLVERS, Solver, make_solver, prediction_kind, solver_names
from .warped import WarpedNoise, warped_noise
from .windows import Window, Windows

__all__ = [
    "SOLVERS",
    "STREAMS",
    "AddressedNoise",
    "DiffusersNoise",
    "LookBack",
    "MeanPull",
    "NoiseSource",
    "NoiseStream",
    "NoiseWindow",
    "Solver",
    "WarpedNoise",
    "Window",
    "Windows",
    "look_back",
    "make_solver",
    "mean_pull",
    "noise_stream",
    "prediction_kind",
    "replay",
    "solver_names",
    "warped_noise",
]
