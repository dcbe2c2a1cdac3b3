"""Model known from its configuration files: requests are resolved against it before torch is imported.

It answers as the loaded model does, but for its device and dtype, which no file states. Made by `registry.read_model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from videogen.schedulers.schedule_file import read_schedule_file
from videogen.schedulers.solver import NoiseSchedule

from .defaults import Capabilities, Defaults, Training
from .geometry import ClipLimits, LatentGeometry
from .model_spec import Configurations, ModelSpec
from .resolvable import ResolvableModel


class ConfiguredModel(ResolvableModel):
    """device, dtype: placeholders; resolve requests that leave them open."""

    device = "cpu"
    dtype = "float32"

    def __init__(
        self,
        name: str,
        spec: ModelSpec,
        configurations: Configurations,
        defaults: Mapping[str, Any],
        training: Mapping[str, Any],
    ) -> None:
        """defaults, training: fields that the checkpoint overrides. KeyError where the scheduler's configuration is
        missing."""
        self.name, self.spec, self.native_guidance = name, spec, spec.native_guidance
        self.defaults = Defaults(**{**spec.defaults, **defaults})
        self.training = Training(**{**spec.training, **training})
        scheduler = configurations["scheduler"]
        self._noise_schedule = read_schedule_file(str(scheduler["_class_name"]), scheduler)

    @property
    def capabilities(self) -> Capabilities:
        return self.spec.capabilities

    @property
    def geometry(self) -> LatentGeometry:
        return self.spec.geometry

    @property
    def limits(self) -> ClipLimits:
        return self.spec.limits

    @property
    def noise_schedule(self) -> NoiseSchedule:
        """Without a table of alphas where the files do not give the betas."""
        return self._noise_schedule

    @property
    def has_temporal_blocks(self) -> bool:
        return self.spec.temporal_blocks
