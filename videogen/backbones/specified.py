"""Base of the families whose specification is read from the configurations of their components."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import Any

from .base import Backbone
from .defaults import Capabilities
from .geometry import ClipLimits, LatentGeometry
from .model_spec import Configurations, ModelSpec, read_pipeline


class SpecifiedBackbone(Backbone):
    """A backbone with a `ModelSpec`: one source for the loaded model and for its files (`registry.read_model`)."""

    @staticmethod
    @abstractmethod
    def read_spec(configurations: Configurations) -> ModelSpec:
        """The family's specification, by the function that its row names."""

    @cached_property
    def spec(self) -> ModelSpec:
        return self.read_spec(read_pipeline(self.pipeline))

    def family_defaults(self) -> dict[str, Any]:
        return dict(self.spec.defaults)

    def family_training(self) -> dict[str, Any]:
        return dict(self.spec.training)

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
    def temporal_positions(self) -> int | None:
        return self.spec.temporal_positions
