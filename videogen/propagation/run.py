"""Propagation in one sampling run, without a model: the host makes the calls, and this decides which are key steps.

    run = PropagationRun("every:2", RunSchedule.from_sigmas(sigmas, "flow", "euler"))
    for step in range(run.schedule.steps):
        prediction = run.call(step, "cond", latents, lambda: model(latents, sigmas[step], text))

A host is any program that runs a denoiser: diffusers (`handle`), another inference engine, a loop of your own. All
state belongs to this object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from videogen.core.errors import InputError, UnsupportedError

from .build_controller import build_controller
from .build_cut import build_host_cut
from .calibration import why_not_calibrated
from .config import StepCaching, read_config
from .cut import Cut, CutSnapshot, ModelOutput
from .denoiser_call import Decision, DenoiserCall
from .denoiser_run import DenoiserRun
from .key_step_frames import KeyStepFrames
from .run_decisions import RunDecisions
from .run_report import summarize
from .run_schedule import RunSchedule
from .run_state import read_state, write_state
from .supervision import CallContext


@dataclass(frozen=True)
class RunSnapshot:
    """State of a run between two steps: its own attributes, and those of each of its denoisers."""

    schedule: RunSchedule
    state: dict[str, Any]
    denoisers: list[tuple[CutSnapshot, dict[str, Any]]]


class PropagationRun(RunDecisions):
    """Propagation in one sampling run. Not shared between runs. `report()` summarizes it.

    config: settings or a spec, such as `every:2` or `max_error:0.05`. schedule: of the run; None: `begin` gives it.
    cut: where the denoiser is cut; None: as the configuration says, for a host that taps `blocks` blocks, if any.
    calibrated_as: the name of the model in `calibration`. factor: from the controller's sum to the final error, for a
    model that the caller has calibrated. Raises InputError; UnsupportedError for settings that need modules of
    diffusers, and for a `max_error` that was not calibrated.
    """

    def __init__(
        self,
        config: StepCaching | str | None = None,
        schedule: RunSchedule | None = None,
        cut: Cut | None = None,
        *,
        blocks: int | None = None,
        calibrated_as: str | None = None,
        factor: float | None = None,
    ) -> None:
        super().__init__(read_config(config))
        self.calibrated_as, self._factor = calibrated_as, factor
        self.denoisers: list[DenoiserRun] = []
        if schedule is not None:
            self._check_host()
            self.add_denoiser(build_host_cut(self.config, blocks) if cut is None else cut)
            self._check_calibrated(schedule)
            self.begin(schedule)

    def add_denoiser(
        self, cut: Cut, frames: KeyStepFrames | None = None, fixed_batch: Callable[[], bool] = lambda: False
    ) -> DenoiserRun:
        """Another denoiser of the same run, such as an expert, before the run begins. Arguments as for
        `DenoiserRun`."""
        self.denoisers.append(DenoiserRun(self, cut, frames, fixed_batch))
        return self.denoisers[-1]

    def begin(self, schedule: RunSchedule, *, is_known: bool = True) -> None:
        """Begin a run, with nothing cached or decided. is_known: whether its timesteps are set."""
        controller = None
        schedule = replace(schedule, by_sigma=self.config.predictor_kind.in_sigma)
        if is_known:
            controller = build_controller(
                self.config, schedule, self.denoisers[0].cut, self.calibrated_as, self._factor
            )
        self.start(schedule, controller)
        for denoiser in self.denoisers:
            denoiser.forget()

    def call(
        self,
        step: int,
        branch: str,
        latents: torch.Tensor,
        forward: Callable[[], ModelOutput],
        *,
        timestep: float | None = None,
        conditions: Mapping[str, object] | None = None,
        guidance_scale: float = 1.0,
    ) -> ModelOutput:
        """The output of one model call, evaluated or propagated.

        step: from 0; one before the present step begins another run. branch: its guidance branch; windows are separate
        branches, such as `cond@12`. latents: what the model is given of the noisy clip, in its own scale. forward: runs
        the model for this call; with taps it may be called more than once. timestep: None: the schedule's. conditions:
        the other inputs; a change makes the call a key step. guidance_scale: of the step, 1 for none.
        """
        decision = self.decide(
            step, branch, latents, forward, timestep=timestep, conditions=conditions, guidance_scale=guidance_scale
        )
        return self.evaluate(decision) if decision.is_key_step else self.propagate(decision)

    def decide(
        self,
        step: int,
        branch: str,
        latents: torch.Tensor,
        forward: Callable[[], ModelOutput],
        *,
        timestep: float | None = None,
        conditions: Mapping[str, object] | None = None,
        guidance_scale: float = 1.0,
    ) -> Decision:
        """The decision about one model call, to be followed by `evaluate` or `propagate`. Arguments as for `call`."""
        if self.controller is None:
            raise InputError("the run has no schedule yet; call begin(schedule) before the first step")
        steps = self.schedule.steps
        if steps is not None and not 0 <= step < steps:
            raise InputError(f"step={step} is outside the schedule, whose steps are 0 to {steps - 1}")
        if step < self.step:
            self.begin(self.schedule)
        if timestep is None:
            timestep = float(step if self.schedule.timesteps is None else self.schedule.timesteps[step])
        call = DenoiserCall(latents, timestep, lambda copies, timesteps: forward(), conditions or {})
        return self.denoisers[0].decide(CallContext(step, branch, guidance_scale), call)

    def evaluate(self, decision: Decision) -> ModelOutput:
        """The output of a key step, which is cached."""
        return self.denoisers[0].evaluate(decision)

    def propagate(self, decision: Decision) -> ModelOutput:
        """The output of a step between key steps."""
        return self.denoisers[0].propagate(decision)

    @property
    def cut(self) -> Cut:
        """Where the first denoiser is cut."""
        return self.denoisers[0].cut

    @property
    def cuts(self) -> list[Cut]:
        return [denoiser.cut for denoiser in self.denoisers]

    @property
    def key_step_frames(self) -> list[KeyStepFrames]:
        """The frame subsets of the denoisers, if key steps compute some frames only."""
        return [denoiser.frames for denoiser in self.denoisers if denoiser.frames]

    def go_back(self, step: int) -> None:
        for denoiser in self.denoisers:
            denoiser.go_back(step)

    def snapshot(self) -> RunSnapshot:
        """All that later steps of this run depend on, between two steps. UnsupportedError with `frames` above 1."""
        return RunSnapshot(self.schedule, read_state(self, self.stateful), [d.snapshot() for d in self.denoisers])

    def restore(self, snapshot: RunSnapshot) -> None:
        """Go back to a snapshot of this run, what was recorded since included; it can be restored again."""
        self.schedule = snapshot.schedule
        write_state(self, snapshot.state)
        for denoiser, stored in zip(self.denoisers, snapshot.denoisers, strict=True):
            denoiser.restore(stored)

    def report(self) -> dict[str, Any]:
        """The promise, the measured errors and the savings, for a manifest."""
        self.finish_step()
        return summarize(self)

    def _check_host(self) -> None:
        if self.config.frames > 1 or self.config.prior_noise:
            raise UnsupportedError(
                f"frames={self.config.frames} and prior_noise={self.config.prior_noise} need the engine's own loop; "
                "leave them out"
            )

    def _check_calibrated(self, schedule: RunSchedule) -> None:
        """UnsupportedError for a promise that rests on no measurement."""
        if self.config.max_error is None or self._factor is not None:
            return
        why = why_not_calibrated(self.cut.name, self.calibrated_as, schedule.solver, schedule.steps or 0)
        if why:
            raise UnsupportedError(why)
