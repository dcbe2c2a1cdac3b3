"""Continuity as a technique of the loop: guided frames copy, means are drawn together, finished frames stay as they are.

What a piece of a long video must know of the one before is a `Memory`; what the next one will need is recorded while it runs.
Which clips there are and who copies whom: `longvideo.pieces`. The mathematics: `schedulers.cono`, `schedulers.pull`.
Legend: [b, c, f, h, w].
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from videogen.backbones.base import Backbone
from videogen.core.errors import UnsupportedError
from videogen.longvideo.pieces import Piece
from videogen.schedulers.cono import SOURCE, replay
from videogen.schedulers.levels import NoiseLevel, noise_levels
from videogen.schedulers.pull import MeanPull
from videogen.schedulers.solvers import prediction_kind

from .loop import LoopState, scale_input
from .plan import StepRow
from .techniques import Call, Technique


@dataclass(frozen=True)
class Memory:
    """What a piece remembers of the one before, all on the CPU; each None where nothing asks for it.

    tail [steps, c, n, h, w]: the predictions of its last n frames as the solver got them; mean, seen [steps, c, h, w]: the means
    over frames of its predictions and of the latents that the model saw; kept [1, c, n, h, w]: its last frames, finished.
    """

    tail: torch.Tensor | None = None
    mean: torch.Tensor | None = None
    seen: torch.Tensor | None = None
    kept: torch.Tensor | None = None

    def tensors(self) -> dict[str, torch.Tensor]:
        """By name, for the journal: `Memory(**tensors)` is this again."""
        return {name: value for name, value in vars(self).items() if value is not None}


class ContinuityTechnique(Technique):
    """Ties a piece's clips to each other and to the piece before.

    pull: as `Continuity.pull`; keep: how many last frames' predictions the next piece copies.
    """

    def __init__(self, piece: Piece, before: Memory, pull: float, keep: int) -> None:
        self.piece, self.before, self.pull, self.keep = piece, before, pull, keep
        self._recorded: dict[int, dict[str, torch.Tensor]] = {}
        self._kind, self._rule = "", MeanPull(0)
        self._levels: list[NoiseLevel] | None = None

    def begin(self, backbone: Backbone, plan: list[StepRow], state: LoopState) -> None:
        self._kind, self._levels = prediction_kind(state.solver), noise_levels(state.solver)
        if not self.pull:
            return
        if self._levels is None:
            raise UnsupportedError(f"{type(state.solver).__name__} does not tell its noise levels, which pull needs; use pull=0")
        self._rule = MeanPull(self.pull, power=1.0, space="v" if self._kind == "epsilon" else "prediction")

    def prediction(self, row: StepRow, state: LoopState, prediction: torch.Tensor) -> torch.Tensor:
        seen = scale_input(state.solver, state.latents, state.solver.timesteps[row.index])
        outputs, means = self._of_before(row.index, prediction)
        pulled = []
        for clip, own, latents in zip(self.piece.clips, prediction.split(1), seen.split(1), strict=True):
            if self.pull and clip.pull_source in means and self._levels is not None:
                mean, mean_seen = means[clip.pull_source]
                own = self._rule.apply(own, mean, self._levels[row.index], self._kind, latents, mean_seen)
            means[clip.name] = own, latents
            pulled.append(own)
        made = []
        for clip, own in zip(self.piece.clips, pulled, strict=True):
            outputs[clip.name] = replay(own, clip, outputs, row.index)
            made.append(outputs[clip.name])
        self._record(row.index, made[-1], seen[-1:])
        return torch.cat(made)

    def _of_before(self, step: int, like: torch.Tensor) -> tuple[dict[str, torch.Tensor], dict[str, tuple[torch.Tensor, torch.Tensor]]]:
        """(the predictions that are copied, the means that are pulled to) of the piece before, by clip."""
        tail, mean, seen = self.before.tail, self.before.mean, self.before.seen
        outputs = {} if tail is None else {SOURCE: tail[step][None].to(like)}
        if mean is None or seen is None:
            return outputs, {}
        return outputs, {SOURCE: (mean[step][None, :, None].to(like), seen[step][None, :, None].to(like))}

    def _record(self, step: int, last: torch.Tensor, seen: torch.Tensor) -> None:
        kept = {}
        if self.keep:
            kept["tail"] = last[0, :, -self.keep :].to("cpu", copy=True)
        if self.pull:
            kept |= {"mean": last[0].mean(1).cpu(), "seen": seen[0].mean(1).cpu()}
        self._recorded[step] = kept

    def memory(self, kept: torch.Tensor | None) -> Memory:
        """What the next piece needs; kept: those finished frames that it is to have."""
        rows = [self._recorded[step] for step in sorted(self._recorded)]
        return Memory(**{name: torch.stack([row[name] for row in rows]) for name in rows[0]}, kept=kept)


class CleanPrefix(Technique):
    """A clip's first frames are finished: they stay as they are and the model is told that they hold no noise.

    latents [1, c, n, h, w]. For models that take a timestep for each latent frame. The model sees them as they are, whatever a solver
    scales its latents by, and whatever others do to these.
    """

    def __init__(self, latents: torch.Tensor) -> None:
        self.latents = latents

    @property
    def frames(self) -> int:
        return self.latents.shape[2]

    def start(self, state: LoopState) -> LoopState:
        return self._put(state)

    def timestep(self, row: StepRow, timestep: torch.Tensor) -> torch.Tensor:
        told = timestep.expand(self._frames).clone()
        told[: self.frames] = 0
        return told

    def evaluate(self, row: StepRow, branch: str, latents: torch.Tensor, text: torch.Tensor, call: Call) -> torch.Tensor:
        return call(self._with_prefix(latents), text)

    def after_step(self, row: StepRow, state: LoopState) -> LoopState:
        return self._put(state)

    def begin(self, backbone: Backbone, plan: list[StepRow], state: LoopState) -> None:
        self._frames = state.seen_shape[2]

    def _put(self, state: LoopState) -> LoopState:
        return replace(state, latents=self._with_prefix(state.latents))

    def _with_prefix(self, latents: torch.Tensor) -> torch.Tensor:
        latents = latents.clone()
        latents[:, :, : self.frames] = self.latents.to(latents)
        return latents


class StraightReplay(Technique):
    """Frames whose end is known go there: at each step they get the prediction that leads from where they are to it.

    slots: of the clip; latents [1, c, n, h, w]: how they end. Whatever the solver and the kind of prediction: what it leaves is
    put right after the last step, so that what lies between is made to fit them as they are.
    """

    def __init__(self, slots: list[int], latents: torch.Tensor) -> None:
        self.slots, self.latents = slots, latents

    def begin(self, backbone: Backbone, plan: list[StepRow], state: LoopState) -> None:
        self._kind, levels, self._last = prediction_kind(state.solver), noise_levels(state.solver), len(plan) - 1
        if levels is None:
            raise UnsupportedError(f"{type(state.solver).__name__} does not tell its noise levels; redo with another solver")
        self._levels = levels

    def prediction(self, row: StepRow, state: LoopState, prediction: torch.Tensor) -> torch.Tensor:
        seen = scale_input(state.solver, state.latents, state.solver.timesteps[row.index])[:, :, self.slots].float()
        told = prediction.clone()
        told[:, :, self.slots] = self._leading(seen, self.latents.to(seen), self._levels[row.index]).to(told)
        return told

    def _leading(self, seen: torch.Tensor, clean: torch.Tensor, level: NoiseLevel) -> torch.Tensor:
        """The prediction, of the model's kind, by which `seen` = alpha clean + sigma noise."""
        if self._kind == "sample":
            return clean
        noise = (seen - level.alpha * clean) / max(level.sigma, 1e-6)
        if self._kind == "epsilon":
            return noise
        return noise - clean if self._kind == "flow" else level.alpha * noise - level.sigma * clean

    def after_step(self, row: StepRow, state: LoopState) -> LoopState:
        if row.index < self._last:
            return state
        latents = state.latents.clone()
        latents[:, :, self.slots] = self.latents.to(latents)
        return replace(state, latents=latents)


def kept_in_attention(piece: Piece) -> tuple[int, ...]:
    """The frames that no query may lose sight of: those that copy, of any of the clips."""
    return tuple(sorted({slot for clip in piece.clips for guide in clip.guides for slot in guide.slots}))
