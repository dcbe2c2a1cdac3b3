"""Attaching sparse attention to a diffusers model or pipeline, until the handle is closed.

Nothing of the library is patched. Module hooks know which attention module is running; within it, and only there, a
torch function mode intercepts the module's call of `scaled_dot_product_attention` and may answer it. Both the `native`
attention backend of diffusers and its legacy processors end in that call; a module that is set to another backend is
set to `native` for those of its calls that may become sparse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from torch import nn

from videogen.core.attachment import check_free, check_not_compiled, close_handles
from videogen.core.denoisers import count_steps, find_denoisers, find_scheduler
from videogen.core.errors import InputError
from videogen.core.step_counter import StepCounter

from .attached_layer import AttachedLayer, check_softmax
from .attached_model import AttachedModel, CallContext
from .attention_layer import CallRecord
from .config import SparseAttention
from .dispatch import attention_modules
from .order import TokenGrid
from .run import AttentionRun, AttentionRunSnapshot
from .run_checks import check_steps, read_config
from .visible_frames import Frames, check_frames


def attach(
    target: Any, config: SparseAttention | str | None = None, *, steps: int | None = None, grid: TokenGrid | None = None
) -> Handle:
    """Make the long self-attention of a model, or of all of a pipeline's denoisers, sparse until `close()`.

    target: a diffusers model (any module with attention processors) or a pipeline. config: a configuration or its spec,
    such as `adaptive`. steps: of a run; None: read from the pipeline's scheduler. Needed for a bare model if the
    configuration depends on fractions of the steps. grid: where the video's tokens lie; None: read from the model's
    input. The handle is also a context manager. Copy or save a model before or after, not while it is attached; compile
    it while it is attached. Raises InputError; the first call of a model raises UnsupportedError if none of its
    attention can be made sparse.
    """
    return Handle(target, read_config(config), check_steps(steps), grid)


def detach(target: Any) -> bool:
    """Remove sparse attention from a model or pipeline, also where its handle was lost. Returns whether there was any.

    Raises InputError for what is no model or pipeline.
    """
    return bool(close_handles(find_denoisers(target).values(), AttachedModel.kind))


@dataclass(frozen=True)
class AttentionSnapshot:
    """The state of a handle between two steps: step counter, run, and why layers are untouched."""

    counter: StepCounter
    run: AttentionRunSnapshot
    untouched: Mapping[str, str]


class Handle:
    """Sparse attention on one model or pipeline. `records` and `report()` describe its calls; `close()` detaches it.

    run: decides each call, without knowing the model.
    """

    def __init__(self, target: Any, config: SparseAttention, steps: int | None, grid: TokenGrid | None) -> None:
        self.run = AttentionRun(config)
        self._target = target
        self._steps, self._counter = steps, StepCounter()
        models = _attending_denoisers(target)
        for model in models.values():
            check_free(model, AttachedModel)
            check_not_compiled(model, [module for _, module in attention_modules(model)])
            check_softmax(model)
        if steps is None and find_scheduler(target) is None and config.needs_steps:
            raise InputError(
                "this configuration depends on fractions of the steps, which a bare model cannot know; "
                "give attach(..., steps=N)"
            )
        self._models = [AttachedModel(name, model, self, grid) for name, model in models.items()]

    @property
    def config(self) -> SparseAttention:
        return self.run.config

    @property
    def records(self) -> list[CallRecord]:
        """Records of all calls of this run."""
        return self.run.records

    @property
    def steps(self) -> int | None:
        """Steps of a run; None where they are not known."""
        return self._steps if self._steps is not None else count_steps(find_scheduler(self._target))

    @contextmanager
    def at(self, step: int, branch: str, visible_frames: Frames = ()) -> Iterator[None]:
        """State the step and guidance branch of the model calls in this block, instead of having them guessed.

        Calls of several windows are separate branches. visible_frames: latent frames of the model's input, single
        ones and ranges [start, stop), whose tokens every query sees. A call in which their place is unknown stays
        dense. Raises InputError, also if no model was called in this block.
        """
        context = CallContext(step, branch, check_frames(visible_frames))
        calls = self._model_calls()
        for model in self._models:
            model.given_context = context
        try:
            yield
        finally:
            for model in self._models:
                model.given_context = None
        if self._model_calls() == calls:
            raise InputError(
                f"no attached model was called at step {step} ({branch}); call the model itself, not a copy or code "
                "that was compiled from it before attach()"
            )

    def _model_calls(self) -> int:
        return sum(model.calls for model in self._models)

    def count_call(self, timestep: float | None, shape: tuple[int, ...] | None) -> CallContext:
        """The step and branch of a model call at this timestep, with latents of this shape."""
        if self._counter.count(timestep, shape):
            self.run.reset()
        return CallContext(self._counter.step, str(self._counter.calls))

    def use_operator(self) -> Callable[[], None]:
        """Before blocks of the model are compiled: replace the hooks of all layers by an operator, which compiled code
        calls without a break in its graph. Returns what undoes it, to be called before `close()`."""
        undone = [layer.use_operator() for layer in self._layers().values()]

        def undo() -> None:
            for one in undone:
                one()

        return undo

    def snapshot(self) -> AttentionSnapshot:
        """All that the next step depends on, for `restore`. Costs no copy of a tensor: states never change in place."""
        untouched = {name: layer.untouched for name, layer in self._layers().items()}
        return AttentionSnapshot(replace(self._counter), self.run.snapshot(), untouched)

    def restore(self, snapshot: AttentionSnapshot) -> None:
        """Go back to a snapshot of this handle, records included. InputError for one of another model."""
        layers = self._layers()
        if layers.keys() != snapshot.untouched.keys():
            raise InputError("the snapshot is of another model; restore one that this handle took")
        self._counter = replace(snapshot.counter)
        self.run.restore(snapshot.run)
        for name, layer in layers.items():
            layer.untouched = snapshot.untouched[name]

    def reset(self) -> None:
        """Forget all maps and records: the next call starts a new run."""
        self._counter = StepCounter()
        self.run.reset()

    def _layers(self) -> dict[str, AttachedLayer]:
        return {name: layer for model in self._models for name, layer in model.layers.items()}

    def report(self) -> dict[str, Any]:
        """What was promised and reached, by layer and step, for a manifest."""
        untouched = {
            name: why for model in self._models for name, layer in model.layers.items()
            if (why := layer.untouched or (layer.idle if model.calls else ""))
        }  # fmt: skip
        return self.run.report(untouched)

    def close(self) -> None:
        """Leave the model as it was before."""
        for model in self._models:
            model.close()

    def __enter__(self) -> Handle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _attending_denoisers(target: Any) -> dict[str, nn.Module]:
    """The denoisers that have attention processors. InputError if there is none."""
    found = {name: part for name, part in find_denoisers(target).items() if any(attention_modules(part))}
    if not found:
        raise InputError(
            f"{type(target).__name__} has no attention processors; give a diffusers transformer, UNet or pipeline"
        )
    return found
