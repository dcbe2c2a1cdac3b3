"""Schedulers: solvers by name (from diffusers), noise sources and streams, warped noise, CoNo, windows. Installed as
`videogen.schedulers`.

This library is independent of model families, pipelines and video files.
"""

from .cono.look_back import LookBack, look_back, replay
from .cono.mean_regularisation import MeanRegularisation, regularise_mean
from .noise.source import AddressedNoise, DiffusersNoise, NoiseSource
from .noise.stream import STREAMS, NoiseStream, NoiseWindow, noise_stream
from .solver import LevelSolver, NoiseSchedule, Solver
from .solvers import SOLVERS, SolverRow, build_solver, solver_names
from .warping.warped_noise import WarpedNoise, warped_noise
from .windows import Window, Windows

__all__ = [
    "SOLVERS",
    "STREAMS",
    "AddressedNoise",
    "DiffusersNoise",
    "LevelSolver",
    "LookBack",
    "MeanRegularisation",
    "NoiseSchedule",
    "NoiseSource",
    "NoiseStream",
    "NoiseWindow",
    "Solver",
    "SolverRow",
    "WarpedNoise",
    "Window",
    "Windows",
    "build_solver",
    "look_back",
    "noise_stream",
    "regularise_mean",
    "replay",
    "solver_names",
    "warped_noise",
]
