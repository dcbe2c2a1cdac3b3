"""Choice of the controller that decides a run's key steps: a fixed list, or step-size control under an error budget."""

from __future__ import annotations

import math

from videogen.core.errors import InputError, UnsupportedError

from .calibration import error_factor
from .config import StepCaching
from .controller import Controller, ErrorControl, FixedKeySteps
from .cut import Cut
from .key_steps import resolve_key_steps
from .run_schedule import RunSchedule

_FIRST_FRACTION = 0.1  # of the steps, the noisiest, are key steps: errors there grow most
_FEWEST_FIRST = 4  # of these steps


def build_controller(
    config: StepCaching, schedule: RunSchedule, cut: Cut, model: str | None, factor: float | None = None
) -> Controller:
    """The controller of one run.

    model: the name under which the model was calibrated. factor: from the controller's sum to the final error; None:
    the model's calibrated one. InputError if the configuration does not fit the schedule, or
    needs one and there is none.
    """
    if config.max_error is not None:
        return _error_control(config, config.max_error, schedule, cut, model, factor)
    assert config.keys is not None
    key_steps, count = resolve_key_steps(config.keys, schedule.steps)
    return FixedKeySteps(tuple(sorted({*key_steps, *range(min(config.first or 0, count))})), count)


def _error_control(
    config: StepCaching, max_error: float, schedule: RunSchedule, cut: Cut, model: str | None, factor: float | None
) -> ErrorControl:
    steps = schedule.steps
    if schedule.levels is None or steps is None:
        raise InputError(
            "max_error needs each step's noise; give attach(..., scheduler=) with timesteps set, or use every:N"
        )
    if schedule.stochastic:
        raise UnsupportedError(
            f"{schedule.solver} adds noise at each step, for which no error can be promised; use every:N, or unipc"
        )
    if factor is None:
        factor = error_factor(cut.name, model, schedule.solver, steps)
    first = max(_FEWEST_FIRST, math.ceil(steps * _FIRST_FRACTION)) if config.first is None else config.first
    return ErrorControl(max_error, factor, schedule.levels, cut.order, first, config.last)
