"""Memory use of a batch: the residency that it runs under, and the steps down where memory runs out all the same."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from videogen.backbones.base import Backbone
from videogen.backbones.fp8_storage import Fp8Storage
from videogen.backbones.load_options import LoadOptions
from videogen.backbones.placement import resolve_device
from videogen.backbones.precision.layerwise_casting import can_cast
from videogen.backbones.registry import load
from videogen.backbones.residency import OFFLOADS, Residency
from videogen.backbones.residency_hooks import EncoderStore, apply_placement, apply_residency
from videogen.core.errors import InputError
from videogen.core.logs import log_note
from videogen.request.request import RenderRequest
from videogen.request.resolved import ResolvedRequest

if TYPE_CHECKING:
    from videogen.planning.plan import MemoryPlan

#: stages of a render that memory can run out in; of a long video, any of a segment's
ENCODE, DENOISE, DECODE, SEGMENT = "encode", "denoise", "decode", "segment"
_PLACEMENTS = ("device", "model", "block", "leaf")


@dataclass
class MemoryUse:
    """residency: of the batch, at present; plan: where memory was given; steps: (stage, what it stepped down to)."""

    backbone: Backbone
    residency: Residency = field(default_factory=Residency)
    plan: MemoryPlan | None = None
    steps: list[tuple[str, str]] = field(default_factory=list)
    store: EncoderStore | None = None
    storage: Fp8Storage | None = None

    def begin(self) -> None:
        """Before the prompts are encoded: their encoders' weights are in memory."""
        if self.store is not None:
            self.store.load()

    def end_encoding(self) -> None:
        """After it: drop the encoders' weights, where the plan does."""
        if self.residency.placement == "text-freed" and self.store is not None:
            self.store.free()

    def step_down(self, stage: str, batch: int) -> bool:
        """Change to the next smaller residency for a stage that ran out of memory. Whether there is one."""
        smaller = next(iter(self._smaller(stage, batch)), None)
        if smaller is None:
            return False
        free_memory()
        storage = self.storage or Fp8Storage(self.backbone.pipeline)
        apply_residency(self.backbone.pipeline, self.backbone.device, self.residency, smaller, storage)
        self.residency = smaller
        self.steps.append((stage, smaller.describe()))
        log_note("out of memory at %s: continuing with %s", stage, smaller.describe())
        return True

    def to_manifest(self) -> dict[str, Any]:
        """What is recorded, where anything was chosen or stepped down to."""
        if self.plan is None and not self.steps:
            return {}
        steps = [{"stage": stage, "residency": text} for stage, text in self.steps]
        planned = {} if self.plan is None else {"limit_bytes": self.plan.memory, "planned_peak_bytes": self.plan.peak}
        return {"memory": {**planned, "residency": self.residency.to_dict(), "steps_down": steps}}

    def _smaller(self, stage: str, batch: int) -> Iterator[Residency]:
        """What takes less memory in a stage, the next first. Values change only where nothing else is left."""
        now = self.residency
        if stage == DECODE:
            if batch > 1 and not now.slicing:
                yield replace(now, slicing=True)
            if not now.tiling and _has_tiles(self.backbone):
                yield replace(now, tiling=True)
        if offloads(self.backbone.device) and now.placement in _PLACEMENTS[:-1]:
            yield replace(now, placement=_PLACEMENTS[_PLACEMENTS.index(now.placement) + 1])
        if (
            self.plan is not None
            and self.storage is not None
            and stage == DENOISE
            and not now.fp8
            and (all(map(can_cast, self.backbone.denoisers())))
        ):
            yield replace(now, fp8=True)


def offloads(device: torch.device) -> bool:
    """Whether weights can rest in another memory than the device's."""
    return device.type != "cpu"


def free_memory() -> None:
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _has_tiles(backbone: Backbone) -> bool:
    return hasattr(backbone.components().get("vae"), "enable_tiling")


class MemoryFitter:
    """The residency of an engine's model from one render to the next. memory: that it was loaded for, if any;
    placement: that it was loaded with."""

    def __init__(self, backbone: Backbone, memory: str | int | None = None, placement: str = "device") -> None:
        self.memory = memory
        self.backbone, self._residency, self._placement = backbone, Residency(placement), placement
        self._store: EncoderStore | None = None
        self._storage = Fp8Storage(backbone.pipeline)

    def fit(self, request: ResolvedRequest, batch: int) -> MemoryUse:
        """The memory use of a batch of clips, planned where memory is given. InputError where it is too small."""
        memory = request.request.memory or self.memory
        if memory is None:
            if request.request.offload is not None and self._residency == Residency():
                self._residency = Residency(OFFLOADS[request.request.offload])
                self._placement = self._residency.placement
            self._change(Residency(self._placement))
            return MemoryUse(self.backbone, self._residency, store=self._store, storage=self._storage)
        from videogen.planning.plan import plan_loaded

        plan = plan_loaded(
            self.backbone, request, memory=memory, batch=batch, calibrate=False, segmented=request.is_long
        )
        self._change(plan.residency)
        if plan.residency.placement == "text-freed" and self._store is None:
            self._store = EncoderStore(self.backbone.pipeline)
        return MemoryUse(self.backbone, plan.residency, plan, store=self._store, storage=self._storage)

    def end(self, use: MemoryUse) -> None:
        """After a batch: the weights are those that the model was loaded with, and stay where they are. A placement
        that a batch stepped down to is the model's from then on."""
        self._residency = replace(use.residency, tiling=False, slicing=False)
        if use.steps:
            self._placement = use.residency.placement
        self._restore()

    def _change(self, residency: Residency) -> None:
        try:
            apply_residency(
                self.backbone.pipeline, self.backbone.device, self._residency, residency, self._storage
            )  # fmt: skip
        except BaseException:
            self._restore()
            raise
        self._residency = replace(residency, tiling=False, slicing=False)

    def _restore(self) -> None:
        """The weights in full precision; where the device may have no room for them, they move only when needed."""
        if self._storage.is_active:
            placement = self._placement
            apply_residency(
                self.backbone.pipeline, self.backbone.device, self._residency, Residency(placement), self._storage
            )  # fmt: skip
            self._residency = Residency(placement)


def load_for_memory(name: str, options: LoadOptions) -> tuple[Backbone, MemoryFitter]:
    """Load a model, on an accelerator placed as its default clip needs it: its weights may be larger than the device.

    Each render then plans its own clip.
    """
    target = None if options.memory is None else torch.device(resolve_device(options.device, options.offload))
    if target is None or target.type == "cpu":
        backbone = load(name, options)
        return backbone, MemoryFitter(backbone, options.memory, OFFLOADS.get(options.offload or "", "device"))
    from videogen.planning.plan import plan_render

    dtype = options.chosen_dtype or "bfloat16"
    backbone = load(name, replace(options, device="cpu", dtype=dtype))
    try:
        request = RenderRequest("a", model=name, dtype=dtype, device=str(target), precision=options.precision)
        placement = plan_render(request, memory=options.memory, calibrate=False).residency.placement
    except InputError:  # another clip than the default one may fit
        placement = _PLACEMENTS[-1]
    apply_placement(backbone.pipeline, target, placement)
    return backbone, MemoryFitter(backbone, options.memory, placement)
