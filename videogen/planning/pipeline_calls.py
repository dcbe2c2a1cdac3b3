"""Calls that a hosted pipeline makes of its modules, counted without values.

The pipeline's own code runs, with real tensors: it tokenizes, prepares latents and conditions, and begins its denoising
loop. Its modules have no values: where it calls one, the call is counted on tensors of the same shapes, and zeros of
the result's shapes are returned. So the inputs of each call are those of a render.
"""

from __future__ import annotations

import copy
import functools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from videogen.backbones.base import Backbone
from videogen.backbones.clip import PredictionContext
from videogen.request.resolved import ResolvedRequest
from videogen.sampling.condition_reading import read_conditions
from videogen.sampling.sample import begin
from videogen.schedulers.noise.source import AddressedNoise

from .counted import Counted
from .counter import LiveStorageCounter, OperatorCall
from .planned_model import PlannedModel

#: methods of a pipeline's modules that it calls
_METHODS = ("forward", "encode")


@dataclass
class PhaseCount:
    """The module calls of one phase. peak: the most that one of them takes, with the tensors that it is given."""

    peak: int = 0
    flops: int = 0
    calls: Counter[OperatorCall] = field(default_factory=Counter)

    def add(self, peak: int, flops: int, calls: Counter[OperatorCall]) -> None:
        self.peak = max(self.peak, peak)
        self.flops += flops
        self.calls.update(calls)


@dataclass(frozen=True)
class PipelineCount:
    """encode: what is called before the loop: encoders of texts and images, and the VAE's of conditions; step: what
    the first body of the loop calls."""

    encode: PhaseCount
    step: PhaseCount


def count_pipeline(model: PlannedModel, request: ResolvedRequest, latent_frames: int, batch: int = 1) -> PipelineCount:
    """The calls of a hosted pipeline up to its first step. batch: clips at once. Raises whatever the pipeline's code
    does where it cannot run, such as for a tokenizer that is not there."""
    backbone = _with_encoders(model)
    recorder = _Recorder(model)
    with torch.inference_mode(), recorder.recording(model.modules()):
        given = read_conditions(request, backbone).given
        negatives = [request.negative_prompt] * batch if request.guided else None
        text = backbone.condition([request.prompt] * batch, negatives)
        sources = [AddressedNoise(number) for number in range(batch)]
        state = begin(backbone, request, text, sources, latent_frames, given=given)
        with closing(state.clip):
            encode, recorder.phase = recorder.phase, PhaseCount()
            state.clip.predict(PredictionContext(0, request.guidance_scale), state.latents)
    return PipelineCount(encode, recorder.phase)


def _with_encoders(model: PlannedModel) -> Backbone:
    """The backbone over a copy of its pipeline that has its encoders."""
    backbone = copy.copy(model.backbone)
    pipeline: Any = copy.copy(backbone.pipeline)
    for name, part in model.encoders.items():
        vars(pipeline)[name] = part
    backbone.pipeline = pipeline
    return backbone


class _Recorder:
    """Counts calls of a model's modules into the present phase; calls with the same shapes are made once."""

    def __init__(self, model: PlannedModel) -> None:
        self.phase = PhaseCount()
        self._model = model
        self._known: dict[Any, tuple[Any, PhaseCount]] = {}
        self._counting = False

    @contextmanager
    def recording(self, modules: dict[str, nn.Module]) -> Iterator[None]:
        with ExitStack() as stack:
            for module in modules.values():
                for name, buffer in list(module._buffers.items()):  # a pipeline computes with a VAE's statistics
                    if buffer is not None and _is_fake(buffer):
                        module._buffers[name] = torch.ones(buffer.shape, dtype=buffer.dtype)
                        stack.callback(module._buffers.__setitem__, name, buffer)
                for method in _METHODS:
                    if callable(getattr(module, method, None)):
                        vars(module)[method] = self._boundary(module, method)
                        stack.callback(vars(module).pop, method, None)
            yield

    def _boundary(self, module: nn.Module, method: str) -> Callable[..., Any]:
        real = getattr(module, method)

        @functools.wraps(real)  # modular pipelines read its parameters
        def call(*args: Any, **kwargs: Any) -> Any:
            if self._counting:  # a call within a call that is counted
                return real(*args, **kwargs)
            key = (id(module), method, _shapes((args, kwargs)))
            if key not in self._known:
                self._known[key] = self._count(module, real, args, kwargs)
            result, counted = self._known[key]
            self.phase.add(counted.peak, counted.flops, counted.calls)
            return result

        return call

    def _count(
        self, module: nn.Module, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, PhaseCount]:
        """(the result with zeros, what the call takes)."""
        self._counting = True
        try:
            with Counted(self._model, module) as counter:
                given = _Given(counter)
                args, kwargs = tree_map(given.without_values, (args, kwargs))
                result = real(*args, **kwargs)
        finally:
            self._counting = False
        return _with_zeros(result), PhaseCount(counter.peak, counter.flops, counter.calls)


class _Given:
    """The tensors of a call without values, on as many storages of the same sizes. counter: knows the small ones'."""

    def __init__(self, counter: LiveStorageCounter) -> None:
        self._counter = counter
        self._storages: dict[int, torch.Tensor] = {}

    def without_values(self, leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        if _is_fake(leaf) or leaf.layout != torch.strided:
            return torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype)
        storage = leaf.untyped_storage()
        made = self._storages.setdefault(storage.data_ptr(), torch.empty(storage.nbytes(), dtype=torch.uint8))
        view = made.view(leaf.dtype).as_strided(leaf.shape, leaf.stride(), leaf.storage_offset())
        self._counter.values.set(view, leaf)
        return view


def _is_fake(tensor: torch.Tensor) -> bool:
    from torch._subclasses.fake_tensor import FakeTensor

    return isinstance(tensor, FakeTensor)


def _shapes(value: Any) -> tuple[Any, ...]:
    return tuple(
        (tuple(leaf.shape), leaf.dtype, tuple(leaf.stride())) if isinstance(leaf, torch.Tensor) else repr(leaf)
        for leaf in tree_leaves(value)
    )


def _with_zeros(value: Any) -> Any:
    """A result with real tensors of zeros; objects that hold tensors, such as distributions, are copied with such."""

    def fill(leaf: Any) -> Any:
        if isinstance(leaf, torch.Tensor):
            return torch.zeros(leaf.shape, dtype=leaf.dtype)
        if hasattr(leaf, "__dict__") and any(isinstance(part, torch.Tensor) for part in vars(leaf).values()):
            twin = copy.copy(leaf)
            vars(twin).update({name: fill(part) for name, part in vars(leaf).items()})
            return twin
        return leaf

    return tree_map(fill, value)
