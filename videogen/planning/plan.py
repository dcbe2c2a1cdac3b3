"""Memory plan of a render: peak memory and time by stage, from configurations alone, and the residency that fits.

The candidates are tried from the fastest that leaves the frames as they are to the smallest; the first that fits the
memory is chosen. Weights come from shapes, activations from counted passes without values (`stage_counts.py`), times
from a calibration of this machine (`calibration.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import Any

import torch

from videogen.backbones.base import Backbone
from videogen.backbones.residency import OFFLOADS, PLACEMENTS, Residency
from videogen.core.byte_sizes import format_bytes, parse_bytes
from videogen.core.errors import InputError, UnsupportedError
from videogen.request.continuity_policies import PIPELINE_GUIDANCE
from videogen.request.request import RenderRequest
from videogen.request.resolve import resolve
from videogen.request.resolved import ResolvedRequest
from videogen.sampling.sample import plan_of

from .calibration import Calibration, open_calibration
from .device_memory import available_bytes, is_here, reserve_bytes
from .planned_model import PlannedModel, plan_loaded_model, read_planned_model
from .resident import ModelWeights, resident_bytes, transferred_bytes, weigh
from .stage_counts import DECODE, DENOISE, STAGES, TEXT, StageCount, count_decode, count_stages
from .transfers import copy_seconds_per_byte


@dataclass(frozen=True)
class StagePlan:
    """One stage. resident: bytes of weights on the device; activations: peak bytes above them; flops: of all its model
    calls; seconds: None where the device is not of this machine."""

    name: str
    resident: int
    activations: int
    flops: int
    seconds: float | None

    @property
    def peak(self) -> int:
        return self.resident + self.activations


@dataclass(frozen=True)
class PlannedOption:
    """A residency and what it costs."""

    residency: Residency
    stages: tuple[StagePlan, ...]

    @property
    def peak(self) -> int:
        return max(stage.peak for stage in self.stages)

    @property
    def seconds(self) -> float | None:
        found = [stage.seconds for stage in self.stages]
        return None if None in found else sum(seconds for seconds in found if seconds is not None)


@dataclass(frozen=True)
class MemoryPlan:
    """What a render takes, and how.

    memory: bytes that it may take, given or available; None where neither is known. chosen: the option to render with;
    options: those that were tried, the chosen one last; weights: bytes by component; notes: what is not counted.
    """

    model: str
    frames: int
    width: int
    height: int
    calls: int
    dtype: str
    device: str
    memory: int | None
    chosen: PlannedOption
    options: tuple[PlannedOption, ...]
    weights: dict[str, int]
    notes: tuple[str, ...] = ()

    @property
    def residency(self) -> Residency:
        return self.chosen.residency

    @property
    def peak(self) -> int:
        return self.chosen.peak

    @property
    def seconds(self) -> float | None:
        return self.chosen.seconds

    def to_dict(self) -> dict[str, Any]:
        """Plain data: bytes and seconds."""
        return {
            "model": self.model, "frames": self.frames, "width": self.width, "height": self.height,
            "model_calls": self.calls, "dtype": self.dtype, "device": self.device, "memory_bytes": self.memory,
            "weights_bytes": dict(self.weights), **_describe(self.chosen),
            "options": [_describe(option) for option in self.options], "notes": list(self.notes),
        }  # fmt: skip


def _describe(option: PlannedOption) -> dict[str, Any]:
    return {
        "residency": option.residency.to_dict(),
        "peak_bytes": option.peak,
        "seconds": option.seconds,
        "stages": {
            stage.name: {
                "resident_bytes": stage.resident, "activation_bytes": stage.activations, "peak_bytes": stage.peak,
                "flops": stage.flops, "seconds": stage.seconds,
            }
            for stage in option.stages
        },
    }  # fmt: skip


@dataclass
class RenderCounts:
    """One render, counted as far as is needed. device: such as `cuda`; calibration: None where it is not here."""

    model: PlannedModel
    request: ResolvedRequest
    device: torch.device
    calibration: Calibration | None
    batch: int = 1
    precision: str | None = None
    _decodes: dict[tuple[bool, bool], StageCount] = field(default_factory=dict)

    @cached_property
    def weights(self) -> ModelWeights:
        return weigh(self.model, self.precision)

    @cached_property
    def calls(self) -> int:
        return len(plan_of(self.model.backbone, self.request))

    @cached_property
    def before_decoding(self) -> dict[str, StageCount]:
        return count_stages(self.model, self.request, self.calls, self.batch)

    @property
    def text(self) -> StageCount:
        return self.before_decoding[TEXT]

    @property
    def denoise(self) -> StageCount:
        return self.before_decoding[DENOISE]

    def decode(self, residency: Residency) -> StageCount:
        """In tiles or not; clip by clip, or the batch at once."""
        key = (residency.tiling, residency.slicing)
        if key not in self._decodes:
            batch = 1 if residency.slicing else self.batch
            count = count_decode(self.model, self.request, tiling=residency.tiling, batch=batch)
            self._decodes[key] = count.again(self.batch // batch)
        return self._decodes[key]

    def under(self, residency: Residency) -> PlannedOption:
        """The render under a residency."""
        counts = {TEXT: self.text, DENOISE: self.denoise, DECODE: self.decode(residency)}
        return PlannedOption(residency, tuple(self._stage(counts[name], residency) for name in STAGES))

    def _stage(self, count: StageCount, residency: Residency) -> StagePlan:
        resident = resident_bytes(self.weights, residency, count.name)
        flops = count.flops * count.repetitions
        return StagePlan(count.name, resident, count.activations, flops, self._seconds(count, residency))

    def _seconds(self, count: StageCount, residency: Residency) -> float | None:
        if self.calibration is None:
            return None
        computing = self.calibration.seconds(count.calls) * count.repetitions
        copied = transferred_bytes(self.weights, residency, count.name) * copy_seconds_per_byte(self.calibration)
        if residency.placement == "model":
            return computing + copied
        return max(computing, copied * count.repetitions)


def plan_render(
    request: RenderRequest, *, memory: str | int | None = None, calibrate: bool = True, online: bool = False,
    batch: int = 1,
) -> MemoryPlan:  # fmt: skip
    """The plan of a request for its model, of which only configuration files are read.

    The request's dtype and device say how it would be loaded (None: as `Engine.load` does); the device need not be of
    this machine, without times then. memory: such as `12GB` (None: that of the request, or what is available);
    calibrate: whether times are measured where they are not known yet; online: whether configurations may be fetched
    from the hub; batch: clips at once. Raises InputError or UnsupportedError as `resolve`; InputError for a memory that
    is too small, with the smallest that works.
    """
    from videogen.backbones.placement import best_device, resolve_device

    options = replace(request, memory=memory or request.memory).load_options()
    device = torch.device(options.device or best_device())
    dtype = getattr(torch, options.chosen_dtype or ("float32" if device.type == "cpu" else "bfloat16"))
    if options.offload is not None and device.type == "cpu":
        resolve_device("cpu", options.offload)
    model = read_planned_model(request.model or "embedded", dtype, request.load_options(), online=online)
    plan = _plan(model, request, device, options.memory, calibrate, batch)
    return replace(plan, notes=(*plan.notes, *_notes_of_loading(request, device)))


def plan_loaded(
    backbone: Backbone, request: RenderRequest | ResolvedRequest, *, memory: str | int | None = None, batch: int = 1,
    calibrate: bool = True, segmented: bool = False,
) -> MemoryPlan:  # fmt: skip
    """The plan of a request for a model that is loaded, on its device; otherwise as `plan_render`.

    segmented: whether it is a long video also where it has one segment.
    """
    model = plan_loaded_model(backbone)
    given = request if isinstance(request, RenderRequest) else request.request
    return _plan(model, given, backbone.device, memory or given.memory, calibrate, batch, segmented)


def _plan(
    model: PlannedModel, request: RenderRequest, device: torch.device, memory: str | int | None, calibrate: bool,
    batch: int = 1, segmented: bool = False,
) -> MemoryPlan:  # fmt: skip
    bare = replace(request, model=None, dtype=None, device=None, memory=None)
    resolved = resolve(bare, model.backbone, segmented=segmented)
    calibration = open_calibration(device) if calibrate and is_here(device) else None
    counts = RenderCounts(model, resolved, device, calibration, batch, request.precision)
    limit = available_bytes(device) if memory is None else parse_bytes(memory, "memory")
    adapted_later = resolved.is_long and bool(resolved.loras)  # each segment's LoRAs join the layers after the plan
    fixed = request.precision is not None or not model.can_cast or adapted_later
    found = candidates(resolved, device, batch, quantized=fixed)
    if request.offload is not None:
        found = (one for one in found if one.placement == OFFLOADS[request.offload])
    tried = _options_until(counts, found, limit, device)
    chosen = tried[-1]
    if limit is not None and not _fits(chosen, limit, device):
        _refuse(counts, tried, limit, device, given=memory is not None)
    return MemoryPlan(
        model.backbone.name, resolved.frames, resolved.width, resolved.height, counts.calls,
        str(model.dtype).removeprefix("torch."), device.type, limit, chosen, tuple(tried),
        {name: size.total for name, size in counts.weights.plain.items()}, tuple(_notes(counts, resolved)),
    )  # fmt: skip


def candidates(
    request: ResolvedRequest, device: torch.device, batch: int = 1, *, quantized: bool = False
) -> Iterator[Residency]:
    """The residencies to try in this order: first those that leave the frames as they are, each time the fastest
    placement first. quantized: whether the denoiser's weights cannot be cast to fp8, as those that are quantized."""
    on_cpu = device.type == "cpu"
    placements = [row.name for row in PLACEMENTS.values() if (row.cpu if on_cpu else row.accelerator)]
    if request.guidance_mode == PIPELINE_GUIDANCE or request.is_long:  # prompts are encoded within calls, or segments
        placements = [name for name in placements if name != "text-freed"]
    tilings = (True,) if request.vae_tiling else (False, True)
    sliced = (False, True) if batch > 1 else (False,)
    found = [
        Residency(placement, fp8, tiling, slicing)
        for fp8, tiling, slicing, placement in product(
            (False,) if quantized else (False, True), tilings, sliced, placements
        )
    ]
    yield from sorted(found, key=lambda one: one.changes_values)


def plan_options(counts: RenderCounts, residencies: Iterable[Residency]) -> Iterator[PlannedOption]:
    """What each takes. Tiles are left out where the VAE cannot decode the clip in them: some fail at a border tile that
    is one latent wide."""
    for residency in residencies:
        try:
            yield counts.under(residency)
        except UnsupportedError:
            if not residency.tiling:
                raise


def _options_until(
    counts: RenderCounts, residencies: Iterator[Residency], limit: int | None, device: torch.device
) -> list[PlannedOption]:
    """The options up to the first that fits; all of them where none does."""
    found: list[PlannedOption] = []
    for option in plan_options(counts, residencies):
        found.append(option)
        if limit is None or _fits(found[-1], limit, device):
            break
    return found


def _fits(option: PlannedOption, limit: int, device: torch.device) -> bool:
    return option.peak + reserve_bytes(device, option.peak) <= limit


def _refuse(counts: RenderCounts, tried: list[PlannedOption], limit: int, device: torch.device, *, given: bool) -> None:
    smallest = min(tried, key=lambda option: option.peak)
    needed = smallest.peak + reserve_bytes(device, smallest.peak)
    request = counts.request
    stage = max(smallest.stages, key=lambda one: one.peak)
    what = f"memory={format_bytes(limit)}" if given else f"the {format_bytes(limit)} of memory that are free"
    raise InputError(
        f"{what} is less than the smallest plan of {counts.model.backbone.name!r} takes for {request.frames} frames of "
        f"{request.width}x{request.height}: {format_bytes(_rounded_up(needed))} with {smallest.residency.describe()}, "
        f"at the stage {stage.name!r}; give as much, or use fewer frames, a smaller size or dtype=bfloat16"
    )


def _rounded_up(count: int) -> int:
    """To three digits, upwards: as it is printed, it suffices."""
    unit = 10 ** max(0, len(str(count)) - 3)
    return -(-count // unit) * unit


def _notes(counts: RenderCounts, request: ResolvedRequest) -> Iterator[str]:
    if not counts.text.known:
        yield "the activations of a text encoder are not counted: its class cannot run without values"
    if request.propagation is not None or request.attention is not None:
        yield "what step caching and sparse attention store, and the time that they save, is not counted"
    if request.is_long:
        yield f"time is that of one segment of {request.window} frames"
    if not is_here(counts.device):
        yield "the time is not known: the device is not of this machine"


def _notes_of_loading(request: RenderRequest, device: torch.device) -> Iterator[str]:
    """What a render would be refused for, on this machine."""
    from videogen.backbones.precision.table import check_installed, parse_precision

    try:
        check_installed(parse_precision(request.precision) if request.precision else {}, str(device))
    except UnsupportedError as error:
        yield f"a render on this machine is refused: {error}"
    if request.loras:
        yield "the matrices of LoRAs are not counted: a render with --memory counts them once they are loaded"
