"""Denoiser with a cache of diffusers enabled: the library's hooks, and a few around the model call."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import nn

from videogen.core.attachment import Attachment, check_not_compiled
from videogen.core.errors import InputError, UnsupportedError

from .caches import CacheRequest
from .library_checks import INSTEAD, check_halves, check_latents
from .library_configs import build_config, library_blocks
from .library_hooks import hooks_of

#: A model with diffusers' `CacheMixin`.
_CacheableModel: TypeAlias = Any
_ATTRIBUTES = ("forward", "_diffusers_hook", "_cache_config")  # that enabling a cache may leave on a module


class LibraryContext(NamedTuple):
    """The step and branch of a model call, as given to `LibraryHandle.at`."""

    step: int
    branch: str
    timestep: float | None


class CachedModel(Attachment):
    """The cache on one model. calls: branch -> [computed, reused]."""

    kind = "a library cache"

    def __init__(
        self, name: str, model: _CacheableModel, request: CacheRequest, ratios: dict[int, list[float]], handle: object
    ) -> None:
        self.handle = handle
        self.name, self._model, self._request, self._ratios = name, model, request, ratios
        self.calls: dict[str, list[int]] = {}
        self.context: LibraryContext | None = None
        self._full_rows: dict[str, int] = {}  # branch -> `_rows` of a call that computes everything
        self._before = _Snapshot(model)
        try:
            self._added, inner = self._enable()
            check_not_compiled(model, [module for module, _ in self._added])
        except BaseException:
            self._before.restore(self._before.added())
            raise
        hooks = [vars(module)["_diffusers_hook"].get_hook(name) for module, name in self._added]
        self._managers = {id(m): m for hook in hooks if (m := getattr(hook, "state_manager", None)) is not None}
        # PAB and FasterCache have one state for all calls, which is swapped per branch, or one guidance branch would
        # reuse the features of the other.
        self._states: list[tuple[Any, dict[str, Any]]] = [(hook, {}) for hook in hooks if hasattr(hook, "state")]
        self._signature = inspect.signature(model.forward)
        # the batch size in the innermost layers of a module that the library may skip; 0: skipped
        self._rows = 0
        leaves = [m for m in inner[-1].modules() if m is not inner[-1] and next(m.children(), None) is None]
        self._hooks = [leaf.register_forward_pre_hook(self._note_rows, with_kwargs=True) for leaf in leaves]
        self._hooks += [
            model.register_forward_pre_hook(self._before_call, with_kwargs=True),
            model.register_forward_hook(self._after_call),
        ]
        self.refuse_copies(model)

    def _enable(self) -> tuple[list[tuple[nn.Module, str]], list[nn.Module]]:
        """Enable the cache. Returns the library's hooks that were added, and the modules that the library may skip."""
        name, cache = type(self._model).__name__, self._request.name
        config = build_config(self._model, self._request, self._timestep)
        try:
            self._model.enable_cache(config)
        except Exception as error:
            raise UnsupportedError(f"diffusers' {cache} cannot be enabled on {name} ({error}); {INSTEAD}") from error
        added = self._before.added()
        inner = [module for module, _ in added if module is not self._model]
        inner = inner or (library_blocks(self._model) if self._request.kind.skips_blocks else [])
        if not inner:
            raise UnsupportedError(f"{name} has no attention that diffusers' {cache} knows; {INSTEAD}")
        return added, inner

    @contextmanager
    def at(self, context: LibraryContext, values: Mapping[str, object]) -> Iterator[None]:
        for hook, states in self._states:
            hook.state = states.setdefault(context.branch, type(hook.state)())
        known = inspect.signature(self._model.cache_context).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in known.values()):  # diffusers before 0.42 takes the branch alone
            values = {name: value for name, value in values.items() if name in known}
        self.context = context
        try:
            with self._model.cache_context(context.branch, **values):
                yield
        finally:
            self.context = None

    def _timestep(self) -> float:
        """The timestep for the library's callback; in a branch's first call, one at which nothing may be skipped."""
        if self.context is None or self.context.timestep is None:
            raise InputError(
                f"{self._request.name} depends on the timestep; put handle.at(step, branch, timestep=t) around each "
                "model call"
            )
        return self.context.timestep if self.context.branch in self.calls else math.inf

    def _before_call(self, model: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        self._rows = 0
        request = self._request
        if request.kind.filters_latents and "hidden_states" in self._signature.parameters:
            check_latents(model, self._signature.bind_partial(*args, **kwargs).arguments, request.name)
        if request.pairs_branches:
            check_halves(model, self._signature.bind_partial(*args, **kwargs).arguments, request.name)
        step = self._from_context("step", "step_index")
        if request.kind.counts_steps and step is not None:
            # it counts the calls of this model, which is wrong if a run uses two models
            for manager in self._managers.values():
                manager.get_state().step_index = step

    def _note_rows(self, _: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        sizes = (x.shape[0] for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor) and x.ndim > 0)
        self._rows = self._rows or next(sizes, 1)

    def _after_call(self, *_: object) -> None:
        branch, rows = str(self._from_context("branch", "name") or ""), self._rows
        step = self._from_context("step", "step_index")
        self._full_rows[branch] = max(rows, self._full_rows.get(branch, 0))
        count = self.calls.setdefault(branch, [0, 0])
        if self._request.measures_ratios:
            for manager in self._managers.values():
                ratio = float(manager.get_state().calibration_ratios[-1])
                self._ratios.setdefault(sum(count) if step is None else step, []).append(ratio)
        count[0 if rows and rows == self._full_rows[branch] else 1] += 1

    def _from_context(self, name: str, library_name: str) -> Any:
        """A value given to `at` or, in a pipeline that opens the library's contexts itself, to those."""
        found = next((c for m in self._managers.values() if (c := m._context) is not None), None)
        return getattr(self.context, name) if self.context else getattr(found, library_name, None)

    def reset(self) -> None:
        self._model._reset_stateful_cache()
        for _, states in self._states:
            states.clear()
        self.calls.clear()
        self._full_rows.clear()

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self.allow_copies(self._model)
        self._before.restore(self._added)


class _Snapshot:
    """The attributes and hooks of a model's modules before a cache is enabled, to restore them exactly."""

    def __init__(self, model: _CacheableModel) -> None:
        self._model = model
        self._attributes = {module: {key for key in _ATTRIBUTES if key in vars(module)} for module in model.modules()}
        self._names = {module: hooks_of(module).keys() for module in self._attributes}

    def added(self) -> list[tuple[nn.Module, str]]:
        """(module, name of the library's hook) of all hooks added since, in the order of the modules."""
        return [
            (module, name) for module, names in self._names.items() for name in hooks_of(module) if name not in names
        ]

    def restore(self, added: list[tuple[nn.Module, str]]) -> None:
        if self._model.is_cache_enabled:
            self._model.disable_cache()
        for module, name in reversed(added):
            if name in hooks_of(module):  # enabling failed half way
                vars(module)["_diffusers_hook"].remove_hook(name, recurse=False)
        for module, attributes in self._attributes.items():
            for key in set(_ATTRIBUTES) - attributes if not hooks_of(module) else ():  # other hooks may have been added
                vars(module).pop(key, None)
            if "_diffusers_hook" in vars(module):
                vars(module)["_diffusers_hook"]._child_registries_cache = None
