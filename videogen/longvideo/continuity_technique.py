"""Continuity as a technique of the loop: frames that copy predictions, and CoNo's mean regularisation.

Which clips there are and which of their frames copy: `longvideo.policies`. The mathematics: `schedulers.cono`.
Legend: [b, c, f, h, w].
"""

from __future__ import annotations

import torch

from videogen.backbones.base import Backbone
from videogen.core.errors import UnsupportedError
from videogen.request.continuity import Continuity
from videogen.sampling.loop import LoopState
from videogen.sampling.step_plan import StepRow
from videogen.sampling.technique import Technique
from videogen.schedulers.cono.look_back import FIRST, SOURCE
from videogen.schedulers.cono.mean_regularisation import MeanRegularisation
from videogen.schedulers.cono.tied_clips import Regularised, tied_predictions
from videogen.schedulers.levels import NoiseLevel

from .segment_memory import SegmentMemory
from .segments import Segment


class ContinuityTechnique(Technique):
    """Ties a segment's clips to each other and to the segment before.

    before: the memory of that segment; continuity: the mean regularisation's settings; retained: how many last frames'
    predictions are recorded for the next segment.
    """

    def __init__(self, segment: Segment, before: SegmentMemory, continuity: Continuity, retained: int) -> None:
        self.segment, self.before, self.retained = segment, before, retained
        self.continuity, self.mean_regularisation = continuity, continuity.mean_regularisation
        self._recorded: dict[int, dict[str, torch.Tensor]] = {}
        self._kind, self._rule = "", MeanRegularisation(0)
        self._levels: list[NoiseLevel] | None = None

    def begin(self, backbone: Backbone, plan: list[StepRow], state: LoopState) -> None:
        self._kind, self._levels = state.solver.kind, state.solver.levels
        if not self.mean_regularisation:
            return
        if self._levels is None:
            raise UnsupportedError(
                f"{state.solver.name} does not expose its noise levels, which mean regularisation needs; use "
                "mean_regularisation=0"
            )
        power, space = self.continuity.mean_power, self.continuity.mean_space
        self._rule = MeanRegularisation(
            self.mean_regularisation,
            power=1.0 if power is None else power,
            space=space or ("v" if self._kind == "epsilon" else "prediction"),
        )

    def prediction(self, row: StepRow, state: LoopState, prediction: torch.Tensor) -> torch.Tensor:
        model_input = state.solver.scale_input(state.latents, row.index)
        outputs, means = self._of_segment_before(row.index, prediction)
        regularised = None
        if self.mean_regularisation and self._levels is not None:
            regularised = Regularised(self._rule, self._levels[row.index], self._kind, model_input, means)
        tied = tied_predictions(prediction, self.segment.clips, row.index, outputs, regularised)
        self._record(row.index, tied[-1], model_input[-1:])
        return torch.cat(tied)

    def _of_segment_before(
        self, step: int, like: torch.Tensor
    ) -> tuple[dict[str, torch.Tensor], dict[str, tuple[torch.Tensor, torch.Tensor]]]:
        """(predictions that are copied, means for the regularisation) of the segment before, by clip."""
        before = self.before
        outputs = {} if before.predictions is None else {SOURCE: before.predictions[step][None].to(like)}
        means = {}
        for name, prediction_mean, input_mean in (
            (SOURCE, before.prediction_mean, before.input_mean),
            (FIRST, before.first_prediction_mean, before.first_input_mean),
        ):
            if prediction_mean is not None and input_mean is not None:
                means[name] = (
                    prediction_mean[step][None, :, None].to(like),
                    input_mean[step][None, :, None].to(like),
                )
        return outputs, means

    def _record(self, step: int, last: torch.Tensor, model_input: torch.Tensor) -> None:
        found = {}
        if self.retained:
            found["predictions"] = last[0, :, -self.retained :].to("cpu", copy=True)
        if self.mean_regularisation:
            found |= {"prediction_mean": last[0].mean(1).cpu(), "input_mean": model_input[0].mean(1).cpu()}
        self._recorded[step] = found

    def memory(self, last_latents: torch.Tensor | None) -> SegmentMemory:
        """What the next segment needs. last_latents: the finished frames that it is cross-faded with."""
        rows = [self._recorded[step] for step in sorted(self._recorded)]
        stacked = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        return SegmentMemory(**stacked, **self._means_of_first_clip(stacked), last_latents=last_latents)

    def _means_of_first_clip(self, recorded: dict[str, torch.Tensor]) -> dict[str, torch.Tensor | None]:
        """The means of the scene's first clip, where clips are regularised to those."""
        if not self.mean_regularisation or self.continuity.mean_of != FIRST:
            return {}
        if self.segment.first:
            return {f"first_{name}": recorded[name] for name in ("prediction_mean", "input_mean")}
        before = self.before
        return {
            "first_prediction_mean": before.first_prediction_mean,
            "first_input_mean": before.first_input_mean,
        }


def copying_frames(segment: Segment) -> tuple[int, ...]:
    """The slots that copy, of any of the clips: attention never skips these."""
    return tuple(sorted({slot for clip in segment.clips for slot in clip.copied}))
