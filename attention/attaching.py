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
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from videogen.core.errors import InputError

from .config import SparseAttention
from .order import TokenGrid
from .report import summarise
from .site import Moment, Record, Site, grid_of

_log = logging.getLogger("videogen.attention")
_SDPA = torch.nn.functional.scaled_dot_product_attention
_PARAMETERS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
#: Processors whose joint sequences begin with the text; with others that this file does not know, both ends count as text.
_TEXT_FIRST = ("CogVideoX", "EasyAnimate")
_VIDEO_FIRST = ("HunyuanVideo", "Mochi", "Motif")


def attach(
    target: Any, config: SparseAttention | str | None = None, *, steps: int | None = None, grid: TokenGrid | None = None
) -> Handle:
    """Make the long self-attention of a model, or of all of a pipeline's denoisers, sparse until `close()`.

    target: a diffusers model (any module with attention processors) or a pipeline. config: what is promised, or the
    command line's word for it, such as `adaptive`. steps: of a run; read off the pipeline's scheduler where it is None,
    and needed for a bare model if the configuration speaks in shares of steps. grid: where the video's tokens lie; None:
    read off the model's input. Also a context manager. A model is compiled, copied or saved before or after, not while.
    Raises InputError.
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
        self._steps, self._clock = steps, _Clock()
        self._told: set[str] = set()
        models = _denoisers(target)
        for model in models.values():
            _check_free(model)
        if steps is None and self._scheduler is None and (config.dense_steps > 0 or (config.sparsity is not None and not config.window)):
            raise InputError("this configuration speaks in shares of all steps, which a bare model cannot know; give attach(..., steps=N)")
        self._models = [_AttachedModel(name, model, self, grid) for name, model in models.items()]

    @property
    def steps(self) -> int | None:
        timesteps = getattr(self._scheduler, "timesteps", None)
        return self._steps if self._steps is not None or timesteps is None else len(timesteps)

    @contextmanager
    def at(self, step: int, branch: str) -> Iterator[None]:
        """Say which step and guidance branch the model calls in this block are of, instead of having them guessed."""
        moment = Moment(step, self.steps, branch)
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
        self._clock = _Clock()
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

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _denoisers(target: Any) -> dict[str, nn.Module]:
    components: Mapping[str, Any] = getattr(target, "components", {}) if not isinstance(target, nn.Module) else {"model": target}
    found = {
        name: part for name, part in components.items()
        if isinstance(part, nn.Module) and (name == "model" or name.startswith(("transformer", "unet"))) and any(_sites(part))
    }  # fmt: skip
    if not found:
        raise InputError(f"{type(target).__name__} has no attention processors; give a diffusers transformer, UNet or pipeline")
    return found


def _check_free(model: nn.Module) -> None:
    """InputError where a model already carries sparse attention, or where it is compiled and would never call what is attached."""
    owners = (getattr(hook, "__self__", None) for hook in model._forward_pre_hooks.values())
    if any(isinstance(owner, _AttachedModel) for owner in owners):
        raise InputError(f"{type(model).__name__} has sparse attention attached already; close() that handle first")
    compiled = [name for name, module in model.named_modules() if getattr(module, "_compiled_call_impl", None) is not None]
    if compiled or hasattr(model, "_orig_mod"):
        raise InputError(f"{type(model).__name__} is compiled, so nothing that is attached would run; attach first, then compile")


def _sites(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((name, module) for name, module in model.named_modules() if hasattr(module, "processor"))


@dataclass
class _Clock:
    """Steps told from the timesteps that a pipeline's models are called with, all experts on one clock: a new value is a
    new step, a turn back a new run. Most models count down, some (Mochi) up: the second value shows which."""

    timestep: float | None = None
    shape: tuple[int, ...] | None = None
    upwards: bool | None = None
    step: int = 0
    calls: int = 0

    def tick(self, timestep: float | None, shape: tuple[int, ...] | None) -> bool:
        """Whether a new run begins with this call."""
        if self.timestep is None or timestep is None or shape != self.shape or self._turns(timestep):
            self.step, self.calls, self.upwards = 0, 0, None
            self.timestep, self.shape = timestep, shape
            return True
        if timestep == self.timestep:
            self.calls += 1
            return False
        self.upwards = timestep > self.timestep
        self.step, self.calls, self.timestep = self.step + 1, 0, timestep
        return False

    def _turns(self, timestep: float) -> bool:
        assert self.timestep is not None
        return self.upwards is not None and timestep != self.timestep and (timestep > self.timestep) != self.upwards


class _AttachedModel:
    """The hooks on one model."""

    def __init__(self, name: str, model: nn.Module, handle: Handle, grid: TokenGrid | None) -> None:
        self.moment: Moment | None = None
        self._handle, self._model, self._given_grid = handle, model, grid
        self._grid: TokenGrid | None = None
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
        self._grid = self._given_grid or _guess_grid(self._model, latents)
        for site in self._sites.values():
            site.ordinal = 0

    def attend(self, site: _AttachedSite, dense: Any, query: Any, key: Any, value: Any, scale: Any, mask: Any, text: int) -> Any:
        grid = _layout(self._grid, text, query.shape[2], site.processor_name)
        out, record = site.site.attend(self._now, site.ordinal, grid, dense, query, key, value, scale, mask)
        site.ordinal += 1
        self._handle.record(record)
        return out

    def refuse(self, site: _AttachedSite, tokens: int, why: str) -> None:
        """A call of self-attention that stays dense stands in the report all the same."""
        self._handle.record(site.site.refuse(self._now, tokens, why))

    def __deepcopy__(self, memo: Any) -> Any:
        raise InputError("a model cannot be copied while sparse attention is attached; close() the handle first")

    def __reduce__(self) -> Any:
        raise InputError("a model cannot be saved as a whole while sparse attention is attached; close() the handle first")

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
        self.apart = "audio" if "audio" in name else "cross-attention" if getattr(module, "is_cross_attention", False) else ""
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
        text = query.shape[2] - self._video if self._text and self._video < query.shape[2] <= self._video + self._text else 0
        return self._owner.attend(
            self, lambda: func(*args, **kwargs), query, key, call["value"], call.get("scale"),
            _key_mask(call.get("attn_mask"), query, key), text,
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
        if mask is not None and _key_mask(mask, query, key) is None:
            return f"a mask {list(mask.shape)} that is more than key padding"
        return ""

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()


def _use_native_backend(module: nn.Module) -> Callable[[], None] | None:
    """diffusers' attention dispatch ends in torch's own call for this module; returns what puts it back, if that is needed."""
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


def _key_mask(mask: torch.Tensor | None, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor | None:
    """bool [b, keys] of a mask that only hides keys, the same for all rows and heads; None for any other.

    A square mask that hides the same tokens as queries and as keys (HunyuanVideo 1.5) counts as one: what a hidden
    query would give, nobody reads.
    """
    if mask is None or mask.dtype != torch.bool:
        return None
    while mask.ndim < 4:
        mask = mask.unsqueeze(0)
    if mask.shape[1] != 1 or mask.shape[3] != key.shape[2]:
        return None
    if mask.shape[2] == 1:
        return mask[:, 0, 0].expand(query.shape[0], -1)
    if mask.shape[2] != mask.shape[3]:
        return None
    seen = mask[:, 0].diagonal(dim1=1, dim2=2)
    wanted = seen * seen.sum(-1, keepdim=True)  # row and column sums that only the outer product of `seen` has
    if not (torch.equal(mask[:, 0].sum(1), wanted) and torch.equal(mask[:, 0].sum(2), wanted)):
        return None
    return seen.expand(query.shape[0], -1)


def _guess_grid(model: nn.Module, latents: torch.Tensor | None) -> TokenGrid | None:
    """The grid of a model's input [b, c, f, h, w] (or [b, f, c, h, w]) under its configured patch size."""
    config = getattr(model, "config", None)
    if latents is None or config is None:
        return None
    frames, (height, width) = latents.shape[2], latents.shape[3:]
    channels = getattr(config, "in_channels", None)
    if channels is not None and latents.shape[2] == channels and latents.shape[1] != channels:
        frames = latents.shape[1]
    patch = getattr(config, "patch_size", 1)
    t, h, w = patch if isinstance(patch, list | tuple) and len(patch) == 3 else (getattr(config, "patch_size_t", None) or 1, *_pair(patch))
    return TokenGrid(frames // t, height // h, width // w)


def _pair(patch: Any) -> tuple[int, int]:
    return (int(patch[0]), int(patch[1])) if isinstance(patch, list | tuple) else (int(patch or 1), int(patch or 1))


def _layout(grid: TokenGrid | None, text: int, length: int, processor: str) -> TokenGrid | None:
    """Where the video and the text of a joint sequence lie, as far as is known.

    `text` tokens of the module's own text input are at one end. Where it is not known at which, or where the text is
    packed into the video's input, as many tokens count as text at both ends. None: all tokens are alike.
    """
    found = grid_of(length, grid)
    if found is not None:
        return found
    if text == 0:
        packed = 0 if grid is None else length - grid.video_tokens
        return _line(length, packed, packed) if 0 < 2 * packed < length else None
    known = grid is not None and grid.video_tokens + text == length
    if processor.startswith(_TEXT_FIRST):
        return replace(grid, before=text, after=0) if grid and known else _line(length, text, 0)
    if processor.startswith(_VIDEO_FIRST):
        return replace(grid, before=0, after=text) if grid and known else _line(length, 0, text)
    return _line(length, text, text) if 2 * text < length else None


def _line(length: int, before: int, after: int) -> TokenGrid:
    """Tokens of which only the ends are known: history frames or other conditions lie among the video's."""
    return TokenGrid(1, 1, length - before - after, before, after)
