"""Schedulers: solvers by name (from diffusers), noise sources and streams, warped noise, CoNo, windows. Installed as
`videogen.schedulers`.

This library is independent of model families, pipelines and video files.
"""

from .cono.look_back import LookBack, look_back, replay
from .cono.mean_regularisation import MeanRegularisation, regularise_mean
from .noise.source import AddressedNoise, DiffusersNoise, NoiseSource
from .noise.stream import STREAMS, NoiseStream, NoiseWindow, noise_stream
from .solvers import SOLVERS, Solver, make_solver, prediction_kind, solver_names
from .warping.warped_noise import WarpedNoise, warped_noise
from .windows import Window, Windows

__all__ = [
    "SOLVERS",
    "STREAMS",
    "AddressedNoise",
    "DiffusersNoise",
    "LookBack",
    "MeanRegularisation",
    "NoiseSource",
    "NoiseStream",
    "NoiseWindow",
    "Solver",
    "WarpedNoise",
    "Window",
    "Windows",
    "look_back",
    "make_solver",
    "regularise_mean",
    "noise_stream",
    "prediction_kind",
    "replay",
    "solver_names",
    "warped_noise",
]
