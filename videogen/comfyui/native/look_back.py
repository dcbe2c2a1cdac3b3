"""Long clips on ComfyUI's native models: one sampling run of a long clip becomes runs of clips of the model's own
length, which look back at each other where they overlap (CoNo, 2406.05082).

The first clip is sampled as without the node, and the guided predictions of its last frames are recorded. The clips of
an extension start from the same noise there, and copied frames take the recorded predictions before the sampler's step,
so that they follow their source bit for bit with any deterministic sampler. The methods: `tied_plans`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from videogen.core.errors import InputError, UnsupportedError
from videogen.schedulers import step_at, tie_clips
from videogen.schedulers.cono.look_back import SOURCE

from ..hooks.model_runs import PREDICT_NOISE, RunContext, Wrapper
from .clip_calls import ClipCalls
from .tied_inputs import check_inputs
from .tied_plans import REPLAY, TiedPlan

KEY = "videogen_long_context"
#: (sigma, guided prediction of the last frames) of each model evaluation, in order
Tails = list[tuple[float, torch.Tensor]]


@dataclass(frozen=True)
class Recording:
    """What the next extension of a clip takes over. noise: of its last clip [1, c, n, h, w]; result: the joined latents
    of the run, in the scale of ComfyUI's LATENT; beyond: frames of the last clip that were not part of it."""

    noise: torch.Tensor
    tails: Tails
    result: torch.Tensor
    beyond: torch.Tensor

    @property
    def frames(self) -> torch.Tensor:
        """All frames of the clips so far."""
        return torch.cat([self.result, self.beyond], dim=2)


@dataclass(frozen=True)
class LookBackSettings:
    """Settings of the nodes. InputError for values that do not fit.

    clip: latent frames that the model denoises at once; method: a name in `tied_plans.METHODS`; release: fraction of
    the steps in which overlapping frames copy predictions; overlap: latent frames, 0 for the method's default; earlier:
    recordings of the clips that are continued, one per sample; rounded: how clip_length was fitted to latents, for the
    report.
    """

    clip: int
    method: str = REPLAY
    release: float = 1.0
    overlap: int = 0
    earlier: tuple[Recording, ...] = ()
    rounded: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.release <= 1:  # so is NaN
            raise InputError(f"release={self.release} must be from 0 to 1, such as 1")
        self.plan(1)

    def plan(self, steps: int) -> TiedPlan:
        return TiedPlan(self.method, self.clip, round(self.release * steps), self.overlap)


class LookBackRuns:
    """Opens the runs of a MODEL. recordings: of the latest run, one per sample, where `record` is set."""

    divides = True

    def __init__(self, settings: LookBackSettings, *, record: bool) -> None:
        self.settings, self.record = settings, record
        self.recordings: tuple[Recording, ...] = ()

    def __call__(self, context: RunContext) -> LookBackRun:
        return LookBackRun(context, self)


class LookBackRun:
    """State of one sampling run. Implements `model_runs.ModelRun` and `DividedRun`. declined: why the run is plain;
    empty where it is not."""

    def __init__(self, context: RunContext, runs: LookBackRuns) -> None:
        self._context, self._runs, self._settings = context, runs, runs.settings
        self._sigmas = context.sigmas.clone()  # one of ComfyUI's samplers changes the last of its own
        self._plan = self._settings.plan(max(1, len(context.sigmas) - 1))
        shape, self._shape = context.latent_shapes[0], context.latent_shapes
        frames = int(shape[2]) if len(shape) == 5 else 1
        self.declined = self._why_declined(frames)
        self._frames, self._source, self._tails = frames, Tails(), Tails()
        self._extending, self._extensions = False, 0
        self._joins: list[int] = []

    def _why_declined(self, frames: int) -> str:
        needed = self._plan.frames
        if self._settings.earlier or frames > needed or (self._runs.record and frames == needed):
            return ""
        if self._runs.record:
            raise InputError(
                f"the clip has {frames} latent frames, fewer than clip_length, {needed} of them, so that it cannot be "
                "continued; sample a longer one, or shorten clip_length"
            )
        return f"the clip has {frames} latent frames, not more than clip_length, {needed} of them"

    def wrappers(self) -> Mapping[str, Wrapper]:
        return {} if self.declined else {PREDICT_NOISE: self._predict}

    def report(self) -> dict[str, Any]:
        """Latent frames, clips, and where clips meet; {"declined": reason} for a plain run."""
        if self.declined:
            return {"declined": self.declined}
        return {
            **({"rounded": self._settings.rounded} if self._settings.rounded else {}),
            "frames": self._frames,
            "clip": self._plan.frames,
            "method": self._plan.method,
            "extensions": self._extensions,
            "copied": self._plan.copied,
            "release_step": self._plan.release,
            "joins": self._joins,
        }

    def close(self) -> None:
        self._source, self._tails = Tails(), Tails()

    def sample(
        self, executor: Any, noise: torch.Tensor, latents: torch.Tensor, sampler: Any, sigmas: Any, *args: Any
    ) -> Any:
        """The latents of the long clip."""
        if self.declined:
            return executor(noise, latents, sampler, sigmas, *args, latent_shapes=self._shape)
        check_inputs(self._context, noise, latents, args[0] if args else None)
        earlier: list[Recording | None] = [*self._settings.earlier] or [None] * len(noise)
        if len(earlier) != len(noise):
            raise InputError(f"a batch of {len(noise)} cannot continue a batch of {len(earlier)}; use the earlier size")
        self._extensions = extensions = self._count(earlier[0])
        clips = len(noise) * (extensions + (not self._settings.earlier))
        calls = ClipCalls(executor, self._context, sampler, self._sigmas, args, clips)
        samples = zip(noise.split(1), earlier, strict=True)
        found = [self._sample_one(calls, one, before, extensions) for one, before in samples]
        self._runs.recordings = tuple(found) if self._runs.record else ()
        result = torch.cat([one.result for one in found])
        calls.finish(result)
        return result

    def _count(self, earlier: Recording | None) -> int:
        """How many extensions the clip needs."""
        if earlier is None:
            return self._plan.extensions_for(self._frames - self._plan.frames)
        done = earlier.frames.shape[2]
        if self._frames <= earlier.result.shape[2]:
            raise InputError(
                f"the latent has {self._frames} frames, and the clip that is continued {earlier.result.shape[2]}; "
                "use the latent that Long Context: Continue gives"
            )
        return self._plan.extensions_for(self._frames - done)

    def _sample_one(
        self, calls: ClipCalls, noise: torch.Tensor, earlier: Recording | None, extensions: int
    ) -> Recording:
        """One sample of the batch."""
        self._joins = []
        if earlier is None:
            before, self._extending, self._tails = noise[:, :, : self._plan.frames], False, Tails()
            joined = calls.sample(before)
        else:
            before, self._tails, joined = earlier.noise.to(noise), earlier.tails, earlier.frames.to(noise)
        for _ in range(extensions):
            start = joined.shape[2] - self._plan.copied
            batch = self._plan.noise(before, _window(noise, start, self._plan.frames))
            self._extending, self._source, self._tails = True, self._tails, Tails()
            for clip, one in zip(calls.sample(batch).split(1), self._plan.clips, strict=True):
                if len(one.emitted):
                    self._joins.append(joined.shape[2])
                    joined = torch.cat([joined, clip[:, :, one.emitted.start : one.emitted.stop].to(joined)], dim=2)
            before = batch[-1:]
        return Recording(before, self._tails, joined[:, :, : self._frames], joined[:, :, self._frames :])

    def _predict(self, executor: Any, x: torch.Tensor, sigma: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        clean, level = executor(x, sigma, *args, **kwargs), float(sigma.flatten()[0])
        if self._extending:
            tail = self._recorded(level).to(clean)
            clean = tie_clips(clean, self._plan.clips, step_at(self._sigmas, level), {SOURCE: tail})
        self._tails.append((level, clean[-1:, :, -self._plan.copied :].cpu().clone()))
        return clean

    def _recorded(self, level: float) -> torch.Tensor:
        """What was predicted at the same evaluation of the clip before."""
        number = len(self._tails)
        if number < len(self._source) and abs(self._source[number][0] - level) <= 1e-6 * max(1.0, level):
            return self._source[number][1]
        raise UnsupportedError(
            f"evaluation {number + 1} is at noise level {level:.4f}, where the clip before had another one: its "
            "sampler, steps, scheduler and shift must be the same, and the sampler must not choose its own steps"
        )


def _window(noise: torch.Tensor, start: int, frames: int) -> torch.Tensor:
    """Frames of a clip's noise; beyond its end, where they are cut off again, from its beginning."""
    return noise[:, :, [frame % noise.shape[2] for frame in range(start, start + frames)]]
