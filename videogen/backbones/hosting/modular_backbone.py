"""Modular backbone: a modular pipeline class of diffusers with a row in the table, run by its own blocks.

As any hosted pipeline, except that inputs are those of its blocks, guidance is a component, and the loop is in a block.
"""

from __future__ import annotations

from typing import Any

from videogen.core.errors import InputError, UnsupportedError

from ..clip import ClipSpec
from .backbone import HostedBackbone
from .draws import Draws
from .modular_loop import ModularLoop, first_block_form
from .modular_pipelines import MODULAR_PIPELINES, ModularRow
from .renoising import RenoisingScheduler


class ModularBackbone(HostedBackbone):
    """Over any pipeline with a row in `modular_pipelines.MODULAR_PIPELINES`."""

    row: ModularRow

    def _row_of(self, pipeline: Any) -> ModularRow:
        return MODULAR_PIPELINES[_class_of(pipeline).__name__]

    def _class_of(self, pipeline: Any) -> type:
        first_block_form(pipeline)  # raises where a user's own blocks have no loop
        missing = sorted(
            name for name, spec in pipeline._component_specs.items()
            if spec.default_creation_method == "from_pretrained" and name in _ESSENTIAL
            and getattr(pipeline, name, None) is None and getattr(pipeline, f"{name}_ref", None) is None
        )  # fmt: skip
        if missing:
            raise InputError(
                f"{type(pipeline).__name__} has no {', '.join(missing)}; call its load_components() before"
            )
        return _class_of(pipeline)

    @property
    def _call(self) -> Any:
        return self.pipeline

    @property
    def scheduler(self) -> Any:
        """The pipeline's own; a stand-in where its blocks step without one."""
        found = getattr(self.pipeline, "scheduler", None)
        return RenoisingScheduler() if found is None else found

    def family_defaults(self) -> dict[str, Any]:
        """As of any hosted pipeline; distilled ones have their steps in their configuration."""
        levels = self.pipeline.config.get("distilled_sigmas")
        return super().family_defaults() | ({"steps": len(levels)} if levels else {})

    def fit(self, spec: ClipSpec) -> ClipSpec:
        if self.row.needs_guidance and spec.guidance_scale <= 1:
            raise UnsupportedError(
                f"guidance_scale={spec.guidance_scale:g}: the blocks of {self.row.name} fail where guidance is off; "
                "give a scale above 1"
            )
        return super().fit(spec)

    def release(self) -> None:
        """Nothing: components managers of modular pipelines offload by themselves."""

    def _noise_draw(self, spec: ClipSpec) -> int:
        return self.row.noise_draw + sum(self.row.draws_before.get(given.kind, 0) for given in spec.given)

    def _lend_loop(self, scheduler: Any, draws: Draws, batch: int) -> ModularLoop:
        form = first_block_form(self.pipeline)
        return ModularLoop(self.pipeline, form, scheduler, draws, self.denoisers(), batch)


_ESSENTIAL = ("transformer", "scheduler", "vae")


def _class_of(pipeline: Any) -> type:
    """The library's own class, also of an outline or of a user's subclass."""
    return next(kind for kind in type(pipeline).__mro__ if kind.__name__ in MODULAR_PIPELINES)
