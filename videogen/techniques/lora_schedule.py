"""LoRA schedule: the weight of each LoRA at each step of a run, as a technique of the denoising loop.

A LoRA that is on for a part of the run changes the model there, so that what propagation has cached before no longer
fits: a step with other weights than the one before is a key step (`propagation.forced_key_steps`). The weights are
recorded in the plan. The LoRAs themselves are on the model for the entire render (`backbones.lora.adapters`), since
they may change the text encoder too.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from videogen.backbones.base import Backbone
from videogen.backbones.lora.spec import Lora
from videogen.core.branch import Branch
from videogen.core.errors import UnsupportedError
from videogen.sampling.loop import LoopState
from videogen.sampling.step_plan import StepRow
from videogen.sampling.technique import Technique


class LoraSchedule(Technique):
    """LoRAs of which at least one is on for a part of the run only: the outermost technique, which others follow."""

    def __init__(self, loras: Sequence[Lora]) -> None:
        self.loras = tuple(loras)

    def begin(self, backbone: Backbone, plan: list[StepRow], state: LoopState) -> None:
        if backbone.in_sections:
            raise UnsupportedError(
                f"{backbone.name!r} makes a clip in sections, each with steps of its own that are not known ahead; "
                "give LoRAs without @START-END"
            )
        self._adapters = backbone.adaptation.loras
        for index, row in enumerate(plan):
            weights = tuple(lora.weight_at(index, len(plan)) for lora in self.loras)
            plan[index] = replace(row, lora_weights=weights)

    def around(self, row: StepRow, branch: Branch) -> AbstractContextManager[object]:
        """Each model call has the weights of its step, also where the run has gone back to it."""
        if row.lora_weights is not None:
            self._adapters.set_weights(row.lora_weights)
        return nullcontext()
