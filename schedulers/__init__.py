"""Schedulers: solvers by name (from diffusers), noise sources and streams, warped noise, CoNo, windows. Installed as
`videogen.schedulers`.

This library is independent of model families, pipelines and video files.
"""

from .cono.look_back import LookBack, look_back, replay
from .cono.mean_regularisation import MeanRegularisation, regularise_mean
from .cono.tied_clips import Regularised, permuted_noise, tie_clips
from .dual_clock import ClampSchedule, clamp, noised, plan_clamps
from .levels import NoiseLevel, levels_from_sigmas, step_at
from .noise.source import AddressedNoise, DiffusersNoise, GivenNoise, NoiseSource
from .noise.stream import STREAMS, NoiseStream, NoiseWindow, noise_stream
from .samplers import SAMPLERS, SamplerRow, find_sampler, sampler_name, solver_of_sampler
from .solver import LevelSolver, NoiseSchedule, Solver
from .solvers import SOLVERS, SolverRow, build_solver, solver_names
from .warping.warped_noise import WarpedNoise, warped_noise
from .windows import Window, Windows

__all__ = [
    "SAMPLERS",
    "SOLVERS",
    "STREAMS",
    "AddressedNoise",
    "ClampSchedule",
    "DiffusersNoise",
    "GivenNoise",
    "LevelSolver",
    "LookBack",
    "MeanRegularisation",
    "NoiseLevel",
    "NoiseSchedule",
    "NoiseSource",
    "NoiseStream",
    "NoiseWindow",
    "Regularised",
    "SamplerRow",
    "Solver",
    "SolverRow",
    "WarpedNoise",
    "Window",
    "Windows",
    "build_solver",
    "clamp",
    "find_sampler",
    "levels_from_sigmas",
    "look_back",
    "noise_stream",
    "noised",
    "permuted_noise",
    "plan_clamps",
    "regularise_mean",
    "replay",
    "sampler_name",
    "solver_names",
    "solver_of_sampler",
    "step_at",
    "tie_clips",
    "warped_noise",
]
