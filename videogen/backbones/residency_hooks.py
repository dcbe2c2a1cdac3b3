"""Residency of a loaded pipeline: the hooks of accelerate and diffusers that move weights, set up and taken off."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from videogen.core.denoisers import find_denoisers
from videogen.core.errors import UnsupportedError

from .fp8_storage import Fp8Storage
from .residency import Residency

#: placements without hooks
ON_DEVICE = ("device", "text-freed")


def apply_placement(pipeline: Any, target: torch.device | str, placement: str) -> None:
    """Rest the weights as a placement says, in place of the one before. UnsupportedError for a pipeline that cannot."""
    device = torch.device(target)
    remove_placement(pipeline)
    if placement in ON_DEVICE:
        pipeline.to(device)
    elif placement == "model":
        if not hasattr(pipeline, "enable_model_cpu_offload"):
            raise UnsupportedError(f"{type(pipeline).__name__} is modular and cannot offload; give more memory")
        pipeline.enable_model_cpu_offload(device=device)
    else:
        denoisers = find_denoisers(pipeline).values()
        for module in _modules(pipeline):
            by_block = placement == "block" and any(module is one for one in denoisers)
            _offload_in_groups(module, device, by_block=by_block)


def remove_placement(pipeline: Any) -> None:
    """Take the hooks off, of all components. The weights stay where they are."""
    from diffusers.hooks import HookRegistry

    if hasattr(pipeline, "remove_all_hooks"):
        pipeline.remove_all_hooks()
    for module in _modules(pipeline):
        for part in module.modules():
            registry: HookRegistry | None = getattr(part, "_diffusers_hook", None)
            for name in ("group_offloading", "layer_execution_tracker", "lazy_prefetch_group_offloading"):
                if registry is not None and registry.get_hook(name) is not None:
                    registry.remove_hook(name, recurse=False)


def apply_residency(
    pipeline: Any, target: torch.device | str, before: Residency, residency: Residency, storage: Fp8Storage
) -> None:
    """Change the residency of a pipeline's weights. storage: casts them where fp8 begins, and restores them where it
    ends; hooks that move weights are set up again then, since they refer to those before."""
    changes = residency.fp8 != storage.is_active
    if changes:
        remove_placement(pipeline)
        if residency.fp8:
            storage.cast()
        else:
            storage.restore()
    moves = torch.device(target).type != "cpu" or residency.placement not in ON_DEVICE
    if residency.placement != before.placement or (changes and moves):
        apply_placement(pipeline, target, residency.placement)


class EncoderStore:
    """The text encoders' weights on disk, while nothing is encoded: a CPU has no other memory to move them to."""

    def __init__(self, pipeline: Any) -> None:
        parts = pipeline.components.items()
        self._encoders = [part for name, part in parts if name.startswith("text_encoder") and _is_module(part)]
        self._file: Path | None = None

    @property
    def is_free(self) -> bool:
        return any(weight.numel() == 0 for _, weight in self._weights())

    def free(self) -> None:
        """Drop the weights from memory."""
        from safetensors.torch import save_file

        with torch.inference_mode(False):
            if self._file is None:
                folder = tempfile.TemporaryDirectory(prefix="videogen-")
                weakref.finalize(self, folder.cleanup)
                self._file = Path(folder.name) / "text_encoders.safetensors"
                save_file({name: weight.detach().clone() for name, weight in self._weights()}, self._file)
            for _, weight in self._weights():
                weight.data = torch.empty(0, dtype=weight.dtype)

    def load(self) -> None:
        """Read the weights again, where they were dropped."""
        from safetensors import safe_open

        if self._file is None or not self.is_free:
            return
        with torch.inference_mode(False), safe_open(self._file, "pt") as stored:
            for name, weight in self._weights():
                weight.data = stored.get_tensor(name)

    def _weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        for number, encoder in enumerate(self._encoders):
            yield from ((f"{number}.{name}", weight) for name, weight in encoder.named_parameters())


def _offload_in_groups(module: nn.Module, device: torch.device, *, by_block: bool) -> None:
    from diffusers.hooks import apply_group_offloading

    how = {"offload_type": "block_level", "num_blocks_per_group": 1} if by_block else {"offload_type": "leaf_level"}
    apply_group_offloading(
        module, onload_device=device, offload_device=torch.device("cpu"), use_stream=device.type == "cuda", **how
    )


def _modules(pipeline: Any) -> list[nn.Module]:
    return [part for part in pipeline.components.values() if _is_module(part)]


def _is_module(part: object) -> bool:
    return isinstance(part, nn.Module)
