"""Attaching sparse attention to a diffusers model or pipeline, and taking it off again without a trace.

Nothing of the library is patched. Module hooks say which attention module is running; within it, and only there, a
torch function mode sees the module's own call of `scaled_dot_product_attention` and may answer it. That call is what
diffusers' `native` attention backend and its legacy processors both end in; a module that is set to another backend
is set to `native` for those of its calls that may become sparse.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from videogen.core.errors import InputError
from videogen.core.step_counter import Clock

from .config import SparseAttention
from .keepframes import Frames, Spans, check_within, checked_frames, frame_tokens, one_frame_each
from .layout import frames_a_token, guess_grid, key_mask_of, layout_of
from .order import TokenGrid
from .report import summarise
from .site import Moment, Record, Site

_log = logging.getLogger("videogen.attention")
_SDPA = torch.nn.functional.scaled_dot_product_attention
_PARAMETERS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


def attach(
    target: Any, config: SparseAttention | str | None = None, *, steps: int | None = None, grid: TokenGrid | None = None
) -> Handle:
    """Make the long self-attention of a model, or of all of a pipeline's denoisers, sparse until `close()`.

    target: a diffusers model (any module with attention processors) or a pipeline. config: what is promised, or the
    command line's word for it, such as `adaptive`. steps: of a run; read off the pipeline's scheduler where it is None,
    and needed for a bare model if the configuration speaks in shares of steps. grid: where the video's tokens lie;
    None: read off the model's input. Also a context manager. A model is compiled, copied or saved before or after, not
    while. Raises InputError.
    """
    if isinstance(config, str):
        config = SparseAttention.parse(config)
        if config is None:
            raise InputError("attention 'dense' needs nothing attached")
    if not isinstance(config, SparseAttention | None):
        raise InputError(f"config={config!r} must be a SparseAttention or a word such as 'adaptive'")
    if steps is not None and (not isinstance(steps, int) or steps < 1):
        raise InputError(f"steps={steps!r} must be a whole number above 0")
    return Handle(target, config or SparseAttention(), steps, grid)


class Handle:
    """Sparse attention on one model or pipeline. `records` and `report()` say what it did; `close()` takes it off."""

    def __init__(self, target: Any, config: SparseAttention, steps: int | None, grid: TokenGrid | None) -> None:
        self.config = config
        self.records: list[Record] = []
        self._scheduler = getattr(target, "scheduler", None)
        self._steps, self._clock = steps, Clock()
        self._told: set[str] = set()
        models = _denoisers(target)
        for model in models.values():
            _check_free(model)
        if (
            steps is None
            and self._scheduler is None
            and (config.dense_steps > 0 or (config.sparsity is not None and not config.window))
        ):
            raise InputError(
                "this configuration speaks in shares of all steps, which a bare model cannot know; give attach(..., steps=N)"
            )
        self._models = [_AttachedModel(name, model, self, grid) for name, model in models.items()]

    @property
    def steps(self) -> int | None:
        timesteps = getattr(self._scheduler, "timesteps", None)
        return self._steps if self._steps is not None or timesteps is None else len(timesteps)

    @contextmanager
    def at(self, step: int, branch: str, keep_frames: Frames = ()) -> Iterator[None]:
        """Say which step and guidance branch the model calls in this block are of, instead of having them guessed.

        Calls of several windows are branches of their own. keep_frames: latent frames of what the model is called with,
        single ones and ranges [start, stop), whose tokens every query sees. Where it is not known how they lie, the
        call stays dense. Raises InputError.
        """
        moment = Moment(step, self.steps, branch, checked_frames(keep_frames))
        for model in self._models:
            model.moment = moment
        try:
            yield
        finally:
            for model in self._models:
                model.moment = None

    def tick(self, timestep: float | None, shape: tuple[int, ...] | None) -> Moment:
        """A model is called at this timestep, with latents of this shape: which step and branch that is."""
        if self._clock.tick(timestep, shape):
            self._forget()
        return Moment(self._clock.step, self.steps, str(self._clock.calls))

    def record(self, record: Record) -> None:
        """Keep it; a reason to stay dense is logged once."""
        self.records.append(record)
        if record.why and record.why not in self._told:
            self._told.add(record.why)
            _log.info("%s stays dense at step %d: %s", record.site, record.step, record.why)

    def reset(self) -> None:
        """Forget all maps and records: the next call is of a new run."""
        self._clock = Clock()
        self._forget()

    def _forget(self) -> None:
        self.records.clear()
        for model in self._models:
            model.forget()

    def report(self) -> dict[str, Any]:
        """What was promised and reached, by site and step, for a manifest."""
        untouched = {name: why for model in self._models for name, why in model.untouched().items()}
        return summarise(self.config, self.records, untouched)

    def close(self) -> None:
        """The model is as it was before."""
        for model in self._models:
            model.close()

    def __enter__(self) -> Handle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _denoisers(target: Any) -> dict[str, nn.Module]:
    components: Mapping[str, Any] = (
        getattr(target, "components", {}) if not isinstance(target, nn.Module) else {"model": target}
    )
    found = {
        name: part for name, part in components.items()
        if isinstance(part, nn.Module) and (name == "model" or name.startswith(("transformer", "unet"))) and any(_sites(part))
    }  # fmt: skip
    if not found:
        raise InputError(
            f"{type(target).__name__} has no attention processors; give a diffusers transformer, UNet or pipeline"
        )
    return found


def _check_free(model: nn.Module) -> None:
    """InputError where a model already carries sparse attention, or where it is compiled and would never call what is
    attached."""
    owners = (getattr(hook, "__self__", None) for hook in model._forward_pre_hooks.values())
    if any(isinstance(owner, _AttachedModel) for owner in owners):
        raise InputError(f"{type(model).__name__} has sparse attention attached already; close() that handle first")
    compiled = [
        name for name, module in model.named_modules() if getattr(module, "_compiled_call_impl", None) is not None
    ]
    if compiled or hasattr(model, "_orig_mod"):
        raise InputError(
            f"{type(model).__name__} is compiled, so nothing that is attached would run; attach first, then compile"
        )


def _sites(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((name, module) for name, module in model.named_modules() if hasattr(module, "processor"))


class _AttachedModel:
    """The hooks on one model."""

    def __init__(self, name: str, model: nn.Module, handle: Handle, grid: TokenGrid | None) -> None:
        self.moment: Moment | None = None
        self._handle, self._model, self._given_grid = handle, model, grid
        self._grid: TokenGrid | None = None
        self._batch = 0  # of the latents; 0: not seen
        self._now = Moment(0, None, "0")
        self._sites: dict[str, _AttachedSite] = {}
        self._hooks = [model.register_forward_pre_hook(self._enter, with_kwargs=True)]
        self._signature = inspect.signature(model.forward)
        for site_name, module in _sites(model):
            full = f"{name}.{site_name}" if name != "model" else site_name
            self._sites[full] = _AttachedSite(full, module, self)

    def _enter(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        values = self._signature.bind_partial(*args, **kwargs).arguments
        latents = next((x for x in values.values() if isinstance(x, torch.Tensor) and x.ndim == 5), None)
        timestep = values.get("timestep", values.get("timesteps"))
        if self.moment is None:
            value = None if timestep is None else float(torch.as_tensor(timestep).max())
            self._now = self._handle.tick(value, None if latents is None else tuple(latents.shape))
        else:
            self._now = self.moment
        self._grid = self._given_grid or guess_grid(self._model, latents)
        self._batch = 0 if latents is None else latents.shape[0]
        if self._now.keep_frames:
            check_within(self._now.keep_frames, frames_a_token(self._model), self._grid)
        for site in self._sites.values():
            site.ordinal = 0

    def attend(
        self, site: _AttachedSite, dense: Any, query: Any, key: Any, value: Any, scale: Any, mask: Any, text: int
    ) -> Any:
        grid = layout_of(self._grid, text, query.shape[2], site.processor_name)
        keep: Spans | None = ()
        if self._now.keep_frames and not one_frame_each(self._grid, self._batch, query):
            keep = frame_tokens(self._now.keep_frames, frames_a_token(self._model), self._grid, grid)
        site.ordinal += 1
        if keep is None:
            self.refuse(
                site, query.shape[2], "where the frames of keep_frames lie is not known; give attach(..., grid=)"
            )
            return dense()
        out, record = site.site.attend(self._now, site.ordinal - 1, grid, dense, query, key, value, scale, mask, keep)
        self._handle.record(record)
        return out

    def refuse(self, site: _AttachedSite, tokens: int, why: str) -> None:
        """A call of self-attention that stays dense stands in the report all the same."""
        self._handle.record(site.site.refuse(self._now, tokens, why))

    def __deepcopy__(self, memo: Any) -> Any:
        raise InputError("a model cannot be copied while sparse attention is attached; close() the handle first")

    def __reduce__(self) -> Any:
        raise InputError(
            "a model cannot be saved as a whole while sparse attention is attached; close() the handle first"
        )

    @property
    def config(self) -> SparseAttention:
        return self._handle.config

    def forget(self) -> None:
        for site in self._sites.values():
            site.site.forget()

    def untouched(self) -> dict[str, str]:
        """Sites that are no self-attention of the video's, with the reason."""
        return {name: site.apart for name, site in self._sites.items() if site.apart}

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()
        for site in self._sites.values():
            site.close()


class _AttachedSite(TorchFunctionMode):
    """One attention module. As a function mode it is on only while that module's forward runs."""

    def __init__(self, name: str, module: nn.Module, owner: _AttachedModel) -> None:
        super().__init__()
        self.site, self.ordinal = Site(name, owner.config), 0
        self.apart = (
            "audio" if "audio" in name else "cross-attention" if getattr(module, "is_cross_attention", False) else ""
        )
        self.processor_name = type(module.processor).__name__
        self._owner, self._text, self._video = owner, 0, 0
        self._signature = inspect.signature(module.forward)
        self._hooks = [
            module.register_forward_pre_hook(self._begin, with_kwargs=True),
            module.register_forward_hook(self._end, always_call=True),
        ]
        self._put_back: Callable[[], None] | None = None

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        values = self._signature.bind_partial(*args, **kwargs).arguments
        hidden, text = values.get("hidden_states"), values.get("encoder_hidden_states")
        self._video = hidden.shape[1] if isinstance(hidden, torch.Tensor) and hidden.ndim == 3 else 0
        self._text = text.shape[1] if isinstance(text, torch.Tensor) and text.ndim == 3 else 0
        if not self.apart and not 0 < self._video + self._text < self._owner.config.min_length:
            self._put_back = _use_native_backend(module)
        self.__enter__()

    def _end(self, *_: Any) -> None:
        self.__exit__(None, None, None)
        if self._put_back is not None:
            self._put_back()
            self._put_back = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not _SDPA:
            return func(*args, **kwargs)
        call = {**dict(zip(_PARAMETERS, args, strict=False)), **kwargs}
        query, key = call["query"], call["key"]
        if query.ndim != 4 or query.shape[2] != key.shape[2]:
            self.apart = self.apart or "cross-attention"
        if self.apart:
            return func(*args, **kwargs)
        if why := self._refusal(call):
            self._owner.refuse(self, query.shape[2], why)
            return func(*args, **kwargs)
        text = (
            query.shape[2] - self._video
            if self._text and self._video < query.shape[2] <= self._video + self._text
            else 0
        )
        return self._owner.attend(
            self, lambda: func(*args, **kwargs), query, key, call["value"], call.get("scale"),
            key_mask_of(call.get("attn_mask"), query, key), text,
        )  # fmt: skip

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
        if mask is not None and key_mask_of(mask, query, key) is None:
            return f"a mask {list(mask.shape)} that is more than key padding"
        return ""

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()


def _use_native_backend(module: nn.Module) -> Callable[[], None] | None:
    """diffusers' attention dispatch ends in torch's own call for this module; returns what puts it back, if that is
    needed."""
    processor = module.processor
    if not hasattr(processor, "_attention_backend"):
        return None
    from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry

    before = vars(processor).get("_attention_backend", _AttentionBackendRegistry)
    wanted = processor._attention_backend or _AttentionBackendRegistry.get_active_backend()[0]
    if AttentionBackendName(wanted) == AttentionBackendName.NATIVE:
        return None
    processor._attention_backend = AttentionBackendName.NATIVE

    def restore() -> None:
        if before is _AttentionBackendRegistry:
            del processor._attention_backend
        else:
            processor._attention_backend = before

    return restore
