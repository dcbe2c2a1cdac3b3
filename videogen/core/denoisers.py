"""Denoisers of a model or pipeline: the modules that techniques attach to, and the steps of the pipeline's runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from videogen.core.errors import InputError


@runtime_checkable
class Stepped(Protocol):
    """What has the timesteps of a run: a scheduler of diffusers, or a `Solver`. None where they are not set yet."""

    @property
    def timesteps(self) -> Tensor | None: ...


def find_denoisers(target: object) -> dict[str, nn.Module]:
    """The UNets and transformers of a pipeline by name, or a single model as `model`. InputError if there is none."""
    if isinstance(target, nn.Module):
        return {"model": target}
    components: Mapping[str, object] = getattr(target, "components", {})
    found = {
        name: part for name, part in components.items()
        if isinstance(part, nn.Module) and name.startswith(("transformer", "unet"))
    }  # fmt: skip
    if not found:
        raise InputError(f"{type(target).__name__} has no UNet or transformer; give a diffusers model or pipeline")
    return found


def find_scheduler(target: object) -> Any:
    """The pipeline's present scheduler; None for a single model."""
    return None if isinstance(target, nn.Module) else getattr(target, "scheduler", None)


def count_steps(scheduler: object) -> int | None:
    """The number of model calls per run at the scheduler's present timesteps; None where they are not known."""
    timesteps = scheduler.timesteps if isinstance(scheduler, Stepped) else None
    return None if timesteps is None else len(timesteps)
