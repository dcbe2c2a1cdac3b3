"""Attaching sparse attention to a diffusers model or pipeline, until the handle is closed.

Nothing of the library is patched. Module hooks know which attention module is running; within it, and only there, a
torch function mode intercepts the module's call of `scaled_dot_product_attention` and may answer it. Both the `native`
attention backend of diffusers and its legacy processors end in that call; a module that is set to another backend is
set to `native` for those of its calls that may become sparse.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, ClassVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from videogen.core.attachment import HookAttachment, attachments_on, check_free, check_not_compiled, close_handles
from videogen.core.denoisers import count_steps, find_denoisers, find_scheduler
from videogen.core.errors import InputError, UnsupportedError
from videogen.core.step_counter import StepCounter

from .attention_layer import AttentionLayer, CallRecord, LayerCall, StepContext
from .config import SparseAttention
from .dispatch import NATIVE, attention_modules, backend_of, use_native_backend
from .kernels.watch import run_sdpa
from .layout import as_key_mask, frames_per_token, guess_grid, token_layout
from .operator import use_operator
from .order import TokenGrid
from .policies.base import PolicyState
from .report import summarize
from .visible_frames import Frames, Spans, check_frames, check_within, frame_tokens, is_per_frame

_log = logging.getLogger("videogen.attention")
_SDPA = torch.nn.functional.scaled_dot_product_attention
_LINEAR = "linear attention"
_PARAMETERS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


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
    if isinstance(config, str):
        config = SparseAttention.parse(config)
        if config is None:
            raise InputError("attention 'dense' needs nothing attached")
    if not isinstance(config, SparseAttention | None):
        raise InputError(f"config={config!r} must be a SparseAttention or a spec such as 'adaptive'")
    if steps is not None and (not isinstance(steps, int) or steps < 1):
        raise InputError(f"steps={steps!r} must be an integer above 0")
    return Handle(target, config or SparseAttention(), steps, grid)


def detach(target: Any) -> bool:
    """Remove sparse attention from a model or pipeline, also where its handle was lost. Returns whether there was any.

    Raises InputError for what is no model or pipeline.
    """
    return bool(close_handles(find_denoisers(target).values(), _AttachedModel.kind))


@dataclass(frozen=True)
class AttentionSnapshot:
    """The state of a handle between two steps: step counter, records, and each layer's policy states, by reference."""

    counter: StepCounter
    records: tuple[CallRecord, ...]
    states: Mapping[str, Mapping[tuple[object, ...], PolicyState]]
    untouched: Mapping[str, str]


class Handle:
    """Sparse attention on one model or pipeline. `records` and `report()` describe its calls; `close()` detaches it."""

    def __init__(self, target: Any, config: SparseAttention, steps: int | None, grid: TokenGrid | None) -> None:
        self.config = config
        self.records: list[CallRecord] = []
        self._target = target
        self._steps, self._counter = steps, StepCounter()
        self._logged: set[str] = set()
        models = _attending_denoisers(target)
        for model in models.values():
            check_free(model, _AttachedModel)
            check_not_compiled(model, [module for _, module in attention_modules(model)])
            _check_softmax(model)
        if steps is None and find_scheduler(target) is None and config.needs_steps:
            raise InputError(
                "this configuration depends on fractions of the steps, which a bare model cannot know; "
                "give attach(..., steps=N)"
            )
        self._models = [_AttachedModel(name, model, self, grid) for name, model in models.items()]

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
        context = StepContext(step, self.steps, branch, check_frames(visible_frames))
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

    def count_call(self, timestep: float | None, shape: tuple[int, ...] | None) -> StepContext:
        """The step and branch of a model call at this timestep, with latents of this shape."""
        if self._counter.count(timestep, shape):
            self._forget()
        return StepContext(self._counter.step, self.steps, str(self._counter.calls))

    def record(self, record: CallRecord) -> None:
        """Store a record; a reason to stay dense is logged once."""
        self.records.append(record)
        if record.why and record.why not in self._logged:
            self._logged.add(record.why)
            _log.info("%s stays dense at step %d: %s", record.layer, record.step, record.why)

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
        layers = self._layers()
        return AttentionSnapshot(
            counter=replace(self._counter),
            records=tuple(self.records),
            states={name: layer.attention.states for name, layer in layers.items()},
            untouched={name: layer.untouched for name, layer in layers.items()},
        )

    def restore(self, snapshot: AttentionSnapshot) -> None:
        """Go back to a snapshot of this handle, records included. InputError for one of another model."""
        layers = self._layers()
        if layers.keys() != snapshot.states.keys():
            raise InputError("the snapshot is of another model; restore one that this handle took")
        self._counter = replace(snapshot.counter)
        self.records[:] = snapshot.records
        for name, layer in layers.items():
            layer.attention.states, layer.untouched = snapshot.states[name], snapshot.untouched[name]

    def reset(self) -> None:
        """Forget all maps and records: the next call starts a new run."""
        self._counter = StepCounter()
        self._forget()

    def _forget(self) -> None:
        self.records.clear()
        for layer in self._layers().values():
            layer.attention.states = {}

    def _layers(self) -> dict[str, _AttachedLayer]:
        return {name: layer for model in self._models for name, layer in model.layers.items()}

    def report(self) -> dict[str, Any]:
        """What was promised and reached, by layer and step, for a manifest."""
        untouched = {
            name: why for model in self._models for name, layer in model.layers.items()
            if (why := layer.untouched or (layer.idle if model.calls else ""))
        }  # fmt: skip
        return summarize(self.config, self.records, untouched)

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


def _why_untouched(module: nn.Module) -> str:
    """Why an attention module is not softmax self-attention, as far as its class shows it; empty where it may be."""
    if getattr(module, "is_cross_attention", False):
        return "cross-attention"
    return _LINEAR if "Linear" in type(module.processor).__name__ else ""


def _check_softmax(model: nn.Module) -> None:
    """UnsupportedError where all self-attention of a model is known to be linear."""
    reasons = {_why_untouched(module) for _, module in attention_modules(model)}
    if _LINEAR in reasons and "" not in reasons:
        raise UnsupportedError(
            f"the self-attention of {type(model).__name__} is linear: it never computes a matrix of weights that could "
            "be made sparse; leave sparse attention out"
        )


class _AttachedModel(HookAttachment):
    """The hooks on one model. given_context: what the handle's user has stated; None: to be counted."""

    kind: ClassVar[str] = "sparse attention"
    fixed_batch: ClassVar[bool] = True

    def __init__(self, name: str, model: nn.Module, handle: Handle, grid: TokenGrid | None) -> None:
        self.given_context: StepContext | None = None
        self.layers: dict[str, _AttachedLayer] = {}
        self.handle, self._given_grid, self.calls = handle, grid, 0
        self._checked = False  # whether a call has shown that there is attention to make sparse
        self._grid: TokenGrid | None = None
        self._batch = 0  # of the latents; 0: unknown
        self._context = StepContext(0, None, "0")
        self._signature = inspect.signature(model.forward)
        super().__init__(model)
        for module_name, module in attention_modules(model):
            full = f"{name}.{module_name}" if name != "model" else module_name
            self.layers[full] = _AttachedLayer(full, module, self)

    @property
    def config(self) -> SparseAttention:
        return self.handle.config

    def _register_hooks(self, module: nn.Module) -> list[RemovableHandle]:
        return [
            module.register_forward_pre_hook(self._enter, with_kwargs=True),
            module.register_forward_hook(self._leave),
        ]

    def _enter(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.calls += 1
        values = self._signature.bind_partial(*args, **kwargs).arguments
        latents = next((x for x in values.values() if isinstance(x, torch.Tensor) and x.ndim == 5), None)
        timestep = values.get("timestep", values.get("timesteps"))
        if self.given_context is None:
            value = None if timestep is None else float(torch.as_tensor(timestep).max())
            self._context = self.handle.count_call(value, None if latents is None else tuple(latents.shape))
        else:
            self._context = self.given_context
        self._grid = self._given_grid or guess_grid(self._module, latents)
        self._batch = 0 if latents is None else latents.shape[0]
        if self._context.visible_frames:
            check_within(self._context.visible_frames, frames_per_token(self._module), self._grid)
        for layer in self.layers.values():
            layer.ordinal = 0

    def _leave(self, model: nn.Module, *_: Any) -> None:
        """After the first call, check that there is self-attention to make sparse, and that none was passed by."""
        layers = self.layers.values()
        if self._checked:
            return
        if any(layer.has_attended for layer in layers):
            self._checked = True
            self._check_all_ran(model)
            return
        name = type(model).__name__
        if any(layer.has_run for layer in layers):
            raise UnsupportedError(
                f"none of the {len(layers)} attention layers of {name} calls torch's scaled_dot_product_attention for "
                "self-attention (it is linear, or its processors call another library), so nothing can be made sparse; "
                "set the default processors, or leave sparse attention out"
            )
        if not self._may_skip(model):
            raise UnsupportedError(
                f"none of the {len(layers)} attention layers of {name} ran through its hooks, as it runs code that was "
                "compiled before; attach first, then compile"
            )

    def _check_all_ran(self, model: nn.Module) -> None:
        """UnsupportedError where some layers ran through their hooks and others of the same kind did not."""
        if self._may_skip(model):
            return
        kinds: dict[str, list[_AttachedLayer]] = {}
        for name, layer in self.layers.items():
            if not layer.untouched:
                kinds.setdefault(re.sub(r"(?<=\.)\d+(?=\.)", "*", name), []).append(layer)
        for kind, layers in kinds.items():
            missed = [layer.attention.name for layer in layers if not layer.has_run]
            if 0 < len(missed) < len(layers):
                raise UnsupportedError(
                    f"{len(missed)} of the {len(layers)} layers {kind} of {type(model).__name__} received no call, "
                    f"such as {missed[0]}, so they would run dense: their blocks run code that was compiled before, or "
                    "the model skips them; attach first, then compile"
                )

    def _may_skip(self, model: nn.Module) -> bool:
        """Whether something else on the model may leave out blocks."""
        others = any(not isinstance(other, HookAttachment) for other in attachments_on(model))
        return others or bool(getattr(model, "is_cache_enabled", False))

    def attend(self, layer: _AttachedLayer, call: LayerCall, text: int) -> Any:
        """A call that may become sparse. text: tokens of the module's text input in its sequence."""
        tokens = call.query.shape[2]
        grid = token_layout(self._grid, text, tokens, layer.processor_name)
        frames = self._context.visible_frames
        visible: Spans | None = ()
        if frames and not is_per_frame(self._grid, self._batch, call.query):
            visible = frame_tokens(frames, frames_per_token(self._module), self._grid, grid)
        call = replace(call, grid=grid, ordinal=layer.ordinal)
        layer.ordinal += 1
        if visible is None:
            self.refuse(layer, tokens, "the tokens of visible_frames are unknown; give attach(..., grid=)")
            return call.dense()
        out, record = layer.attention.attend(self._context, replace(call, visible=visible))
        self.handle.record(record)
        return out

    def refuse(self, layer: _AttachedLayer, tokens: int, why: str) -> None:
        """Record a call of self-attention that stays dense: it is part of the report all the same."""
        self.handle.record(layer.attention.refuse(self._context, tokens, why))

    def close(self) -> None:
        self.detach()
        for layer in self.layers.values():
            layer.detach()


class _AttentionMode(TorchFunctionMode):
    """Gives the calls of `scaled_dot_product_attention` to `answer(func, args, kwargs)`."""

    def __init__(self, answer: Callable[[Any, Any, Any], Any]) -> None:
        super().__init__()
        self._answer = answer

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._answer(func, args, kwargs or {}) if func is _SDPA else func(*args, **(kwargs or {}))


class _AttachedLayer(HookAttachment):
    """One attention module, whose calls of attention are intercepted only while its forward runs.

    untouched: why the module is not self-attention of the video; empty where it is. ordinal: of the next call within
    this forward pass of the model. has_run: whether the module was ever called; has_attended: whether it called softmax
    self-attention, or was too short to look.
    """

    kind: ClassVar[str] = "sparse attention"

    def __init__(self, name: str, module: nn.Module, owner: _AttachedModel) -> None:
        self.attention, self.ordinal = AttentionLayer(name, owner.config), 0
        self.untouched = "audio" if "audio" in name else _why_untouched(module)
        self.processor_name = type(module.processor).__name__
        self.has_run = self.has_attended = False
        self._owner, self._text, self._video = owner, 0, 0
        self._signature = inspect.signature(module.forward)
        self._restore_backend: Callable[[], None] | None = None
        self._mode = _AttentionMode(self._answer)
        super().__init__(module)

    def _register_hooks(self, module: nn.Module) -> list[RemovableHandle]:
        return [
            module.register_forward_pre_hook(self._begin, with_kwargs=True),
            module.register_forward_hook(self._end, always_call=True),
        ]

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        values = self._signature.bind_partial(*args, **kwargs).arguments
        hidden, text = values.get("hidden_states"), values.get("encoder_hidden_states")
        self._video = hidden.shape[1] if isinstance(hidden, torch.Tensor) and hidden.ndim == 3 else 0
        self._text = text.shape[1] if isinstance(text, torch.Tensor) and text.ndim == 3 else 0
        self.has_run = True
        if not self.untouched:
            short = 0 < self._video + self._text < self._owner.config.min_length
            if not short:
                self._restore_backend = use_native_backend(module)
            elif backend_of(module) != NATIVE:
                self.has_attended = True  # as far as can be seen: its calls do not end in torch's function
        self._mode.__enter__()

    def answer(self, video: int, text: int, arguments: dict[str, Any]) -> Any:
        """A call of the operator in compiled code, see `operator`."""
        self._video, self._text, self.has_run = video, text, True
        return self._answer(_SDPA, (), arguments)

    def use_operator(self) -> Callable[[], None]:
        """For compiled code: answer the operator's calls instead of using hooks. Returns what goes back to them.

        A module whose forward other code has replaced keeps its hooks. One that is not self-attention runs plain.
        """
        module = self._module
        if vars(module).get("forward") is not self or self._before is not None:
            return lambda: None
        del vars(module)["forward"]
        for hook in self._hooks:
            hook.remove()
        undone = [] if self.untouched else [use_operator(module, self), use_native_backend(module)]

        def undo() -> None:
            for one in undone:
                if one is not None:
                    one()
            vars(module)["forward"] = self
            self._hooks = self._register_hooks(module)

        return undo

    @property
    def idle(self) -> str:
        """Why there was nothing to make sparse so far; empty where there was."""
        if self.has_attended:
            return ""
        return "no softmax self-attention" if self.has_run else "was not called"

    def _end(self, *_: Any) -> None:
        self._mode.__exit__(None, None, None)
        if self._restore_backend is not None:
            self._restore_backend()
            self._restore_backend = None

    def _answer(self, func: Any, args: Any, kwargs: Any) -> Any:
        call = {**dict(zip(_PARAMETERS, args, strict=False)), **kwargs}
        query, key = call["query"], call["key"]
        if query.ndim != 4 or query.shape[2] != key.shape[2]:
            self.untouched = self.untouched or "cross-attention"
        if self.untouched:
            return func(*args, **kwargs)
        tokens, self.has_attended = query.shape[2], True
        if why := self._refusal(call):
            self._owner.refuse(self, tokens, why)
            return run_sdpa(func, args, kwargs)
        joint = self._text and self._video < tokens <= self._video + self._text
        layer_call = LayerCall(
            query, key, call["value"], lambda: run_sdpa(func, args, kwargs), call.get("scale"),
            as_key_mask(call.get("attn_mask"), query, key),
        )  # fmt: skip
        return self._owner.attend(self, layer_call, tokens - self._video if joint else 0)

    def _refusal(self, call: dict[str, Any]) -> str:
        """Why this call of self-attention stays as it is; empty where it may be made sparse."""
        query, key, mask = call["query"], call["key"], call.get("attn_mask")
        if query.shape[2] < self._owner.config.min_length:
            return f"{query.shape[2]} tokens are fewer than min_length={self._owner.config.min_length}"
        if call.get("is_causal"):
            return "causal attention"
        if call.get("dropout_p"):
            return "dropout"
        if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or call["value"].requires_grad):
            return "gradients are being recorded"
        if mask is not None and as_key_mask(mask, query, key) is None:
            return f"a mask {list(mask.shape)} that is more than key padding"
        return ""
