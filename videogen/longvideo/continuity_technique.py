"""Continuity as a technique of the loop: guided frames copy, means are drawn together, finished frames stay as they
are.

What a segment of a long video must know of the one before is a `Memory`; what the next one will need is recorded while it
runs. Which clips there are and who copies whom: `longvideo.segments`. The mathematics: `schedulers.cono`,
`schedulers.pull`. Legend: [b, c, f, h, w].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from videogen.backbones.base import Backbone
from videogen.core.errors import UnsupportedError
from videogen.longvideo.segments import Segment
from videogen.sampling.loop import LoopState, scale_input
from videogen.sampling.step_plan import StepRow
from videogen.sampling.technique import Technique
from videogen.schedulers.cono.look_back import SOURCE, replay
from videogen.schedulers.cono.mean_regularisation import MeanPull
from videogen.schedulers.levels import NoiseLevel, noise_levels
from videogen.schedulers.solvers import prediction_kind


@dataclass(frozen=True)
class Memory:
    """What a segment remembers of the one before, all on the CPU; each None where nothing asks for it.

    tail [steps, c, n, h, w]: the predictions of its last n frames as the solver got them; mean, seen [steps, c, h, w]:
    the means over frames of its predictions and of the latents that the model saw; kept [1, c, n, h, w]: its last
    frames, finished.
    """

    tail: torch.Tensor | None = None
    mean: torch.Tensor | None = None
    seen: torch.Tensor | None = None
    kept: torch.Tensor | None = None

    def tensors(self) -> dict[str, torch.Tensor]:
        """By name, for the journal: `Memory(**tensors)` is this again."""
        return {name: value for name, value in vars(self).items() if value is not None}


class ContinuityTechnique(Technique):
    """Ties a segment's clips to each other and to the segment before.

    pull: as `Continuity.pull`; keep: how many last frames' predictions the next segment copies.
    """

    def __init__(self, segment: Segment, before: Memory, pull: float, keep: int) -> None:
        self.segment, self.before, self.pull, self.keep = segment, before, pull, keep
        self._recorded: dict[int, dict[str, torch.Tensor]] = {}
        self._kind, self._rule = "", MeanPull(0)
        self._levels: list[NoiseLevel] | None = None

    def begin(self, backbone: Backbone, plan: list[StepRow], state: LoopState) -> None:
        self._kind, self._levels = prediction_kind(state.solver), noise_levels(state.solver)
        if not self.pull:
            return
        if self._levels is None:
            raise UnsupportedError(
                f"{type(state.solver).__name__} does not tell its noise levels, which pull needs; use pull=0"
            )
        self._rule = MeanPull(self.pull, power=1.0, space="v" if self._kind == "epsilon" else "prediction")

    def prediction(self, row: StepRow, state: LoopState, prediction: torch.Tensor) -> torch.Tensor:
        seen = scale_input(state.solver, state.latents, state.solver.timesteps[row.index])
        outputs, means = self._of_before(row.index, prediction)
        pulled = []
        for clip, own, latents in zip(self.segment.clips, prediction.split(1), seen.split(1), strict=True):
            if self.pull and clip.pull_source in means and self._levels is not None:
                mean, mean_seen = means[clip.pull_source]
                own = self._rule.apply(own, mean, self._levels[row.index], self._kind, latents, mean_seen)
            means[clip.name] = own, latents
            pulled.append(own)
        made = []
        for clip, own in zip(self.segment.clips, pulled, strict=True):
            outputs[clip.name] = replay(own, clip, outputs, row.index)
            made.append(outputs[clip.name])
        self._record(row.index, made[-1], seen[-1:])
        return torch.cat(made)

    def _of_before(
        self, step: int, like: torch.Tensor
    ) -> tuple[dict[str, torch.Tensor], dict[str, tuple[torch.Tensor, torch.Tensor]]]:
        """(the predictions that are copied, the means that are pulled to) of the segment before, by clip."""
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
        """What the next segment needs; kept: those finished frames that it is to have."""
        rows = [self._recorded[step] for step in sorted(self._recorded)]
        return Memory(**{name: torch.stack([row[name] for row in rows]) for name in rows[0]}, kept=kept)


def kept_in_attention(segment: Segment) -> tuple[int, ...]:
    """The frames that no query may lose sight of: those that copy, of any of the clips."""
    return tuple(sorted({slot for clip in segment.clips for guide in clip.guides for slot in guide.slots}))
