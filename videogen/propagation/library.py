"""The feature caches that diffusers ships, chosen by name: attached to a model or pipeline, told where the run is,
taken off again.

They are the library's own code (`diffusers.hooks`). This file says where they work, since enabling one where it does
not may raise late, do nothing, or be wrong in silence; keeps the guidance branches apart also in those that have one
state for all calls; and puts every module back as it was. It promises no error: for that, see
`config.EncoderPropagation`. The names: `caches`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from videogen.core.errors import InputError, UnsupportedError, unknown

from .caches import KINDS, LibraryCache
from .library_checks import (
    APART,
    INSTEAD,
    check_halves,
    check_latents,
    check_works,
    hooks_of,
    library_blocks,
    make_config,
)
from .targets import denoisers

_OWN = ("forward", "_diffusers_hook", "_cache_config")  # attributes that enabling a cache may leave on a module


def attach_library(
    target: Any, cache: LibraryCache | str, *, steps: int | None = None, mag_ratios: Sequence[float] | None = None,
    is_guidance_distilled: bool = False,
) -> LibraryHandle:  # fmt: skip
    """Enable one of the library's caches on a model, or on all of a pipeline's denoisers, until `close()`.

    steps: of a run; magcache and seacache need it. mag_ratios: of magcache, from `calibrate_magcache`; fitted to
    `steps`. is_guidance_distilled: of fastercache; True where a call is of one guidance branch, or there is no
    guidance, False where the unconditional and the conditional half are one batch, in this order. Also a context
    manager. A model is compiled, copied or saved before or after, not while. Raises InputError; UnsupportedError where
    the cache does not work for the class, and what does.
    """
    found = LibraryCache.parse(cache) if isinstance(cache, str) else cache
    if not isinstance(found, LibraryCache):
        raise unknown("cache", str(cache), KINDS)
    if found.name == "magcache" and mag_ratios is None:
        raise UnsupportedError(
            "magcache needs this model's magnitude ratios; measure them with calibrate_magcache and give mag_ratios"
        )
    return LibraryHandle(
        target, Wish(found, steps, None if mag_ratios is None else tuple(mag_ratios), is_guidance_distilled)
    )


def calibrate_magcache(target: Any, run: Callable[[LibraryHandle], object], *, steps: int) -> list[float]:
    """The magnitude ratios of a model or pipeline: [steps], one a step, the mean over guidance branches.

    run: makes one whole run of `steps` steps, nothing skipped, with `handle.at(...)` around each model call (or with a
    pipeline that opens the library's cache contexts itself). Ratios belong to one checkpoint and one schedule of steps.
    Raises as `attach_library`.
    """
    with LibraryHandle(target, Wish(LibraryCache("magcache"), steps, None, False)) as handle:
        run(handle)
        found = handle.ratios
    if sorted(found) != list(range(steps)):
        raise InputError(
            f"the run evaluated steps {sorted(found)}, but steps={steps}; calibrate with one whole run of that many steps"
        )
    return [sum(found[step]) / len(found[step]) for step in range(steps)]


@dataclass(frozen=True)
class Wish:
    """What was asked for; magcache without ratios: to measure them."""

    cache: LibraryCache
    steps: int | None
    mag_ratios: tuple[float, ...] | None
    distilled: bool

    def __post_init__(self) -> None:
        if self.steps is None and self.name in ("magcache", "seacache"):
            raise UnsupportedError(f"{self.name} must know how many steps a run has; give attach_library(..., steps=N)")
        if self.steps is not None and (
            isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1
        ):
            raise InputError(f"steps={self.steps!r} must be a whole number above 0")
        ratios = self.mag_ratios
        if ratios is not None and self.name != "magcache":
            raise InputError(f"mag_ratios are magcache's; {self.cache} takes none")
        if ratios is not None and not (
            ratios and all(isinstance(r, int | float) and math.isfinite(r) and r > 0 for r in ratios)
        ):
            raise InputError(
                f"mag_ratios={list(ratios)} must be numbers above 0, one a step; measure them with calibrate_magcache"
            )

    @property
    def name(self) -> str:
        return self.cache.name


class _Moment(NamedTuple):
    """What `at` was told."""

    step: int
    branch: str
    timestep: float | None


class LibraryHandle:
    """One of the library's caches on one model or pipeline. `at` says where a run is; `close()` takes the cache off."""

    def __init__(self, target: Any, wish: Wish) -> None:
        self._wish, self._closed = wish, False
        self.ratios: dict[int, list[float]] = {}  # step -> what a calibrating run of magcache measured, one a branch
        self._steps_of: dict[str, int] = {}  # branch -> the step of its latest call
        models = denoisers(target)
        for model in models.values():
            check_works(model, wish)
        self._models: list[_Attached] = []
        try:
            for name, model in models.items():
                self._models.append(_Attached(name, model, wish, self.ratios))
        except BaseException:
            self.close()
            raise

    @contextmanager
    def at(self, step: int, branch: str, timestep: Any = None, sigma: float | None = None) -> Iterator[None]:
        """Say which step and guidance branch the one model call in this block is of. A branch's steps go up; step 0
        again is a new run.

        timestep: 1000 for pure noise to 0, a number or a tensor; pab and fastercache need it. sigma: the share of
        noise, from 0 to 1, of z = (1 - sigma) x + sigma noise; seacache needs it. Windows and stages of a step are
        branches of their own. Raises InputError.
        """
        moment = self._told(step, branch, timestep, sigma)
        if step <= self._steps_of.get(branch, -1) or (step == 0 and any(self._steps_of.values())):
            if step > 0:
                told = f"step {step} of branch {branch!r} comes after its step {self._steps_of[branch]}"
                raise InputError(
                    f"{told}; give windows and stages of a step branch names of their own, or reset() before a new run"
                )
            self.reset()
        self._steps_of[branch] = step
        words = {
            "step_index": step,
            "num_inference_steps": self._wish.steps,
            "timestep": moment.timestep,
            "sigma": sigma,
        }
        with ExitStack() as stack:
            for model in self._models:
                stack.enter_context(model.at(moment, words))
            yield

    def _told(self, step: int, branch: str, timestep: Any, sigma: float | None) -> _Moment:
        name, steps = self._wish.name, self._wish.steps
        if self._closed:
            raise InputError("this handle is closed; attach_library again")
        if isinstance(step, bool) or not isinstance(step, int) or step < 0 or (steps is not None and step >= steps):
            raise InputError(
                f"step={step!r} must be a whole number from 0 to {'the last step' if steps is None else steps - 1}"
            )
        if timestep is None and name in ("pab", "fastercache"):
            raise InputError(f"{name} depends on the timestep; give at(..., timestep=t)")
        if name == "seacache" and (sigma is None or not 0 <= sigma <= 1):
            raise InputError(f"sigma={sigma!r}: seacache needs the share of noise, from 0 to 1; give at(..., sigma=s)")
        if name == "fastercache" and not self._wish.distilled and any(other != branch for other in self._steps_of):
            raise InputError(
                f"a second branch {branch!r}: fastercache expects both halves of the guidance in one batch; {APART}"
            )
        return _Moment(step, branch, None if timestep is None else float(torch.as_tensor(timestep).max()))

    def reset(self) -> None:
        """Forget all that is kept: the next call is of a new run. InputError within `at`."""
        if any(model.moment for model in self._models):
            raise InputError("reset() within at(...) would lose the branch; reset between the model calls")
        self._steps_of.clear()
        for model in self._models:
            model.reset()

    def report(self) -> dict[str, Any]:
        """The cache and its number; model calls of this run that computed all and that reused something, in all and by
        model and branch."""
        calls = {
            model.name: {b: {"computed": c, "reused": r} for b, (c, r) in model.calls.items()} for model in self._models
        }
        total = {
            what: sum(n[what] for branches in calls.values() for n in branches.values())
            for what in ("computed", "reused")
        }
        return {"name": self._wish.name, "value": self._wish.cache.value, **total, "calls": calls}

    def close(self) -> None:
        """Every model is as it was before."""
        for model in reversed(() if self._closed else self._models):
            model.close()
        self._closed = True

    def __enter__(self) -> LibraryHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Attached:
    """The cache on one model: the library's hooks, and around the model's call a few of our own."""

    def __init__(self, name: str, model: Any, wish: Wish, ratios: dict[int, list[float]]) -> None:
        self.name, self._model, self._wish, self._ratios = name, model, wish, ratios
        self.calls: dict[str, list[int]] = {}  # branch -> [computed, reused]
        self.moment: _Moment | None = None
        self._full: dict[str, int] = {}  # branch -> the batch of a whole call, as `_rows` has it
        self._before, cls = _Snapshot(model), type(model).__name__
        try:
            config = make_config(model, wish, self._timestep)
            try:
                model.enable_cache(config)
            except Exception as error:
                raise UnsupportedError(
                    f"diffusers' {wish.name} cannot be enabled on {cls} ({error}); {INSTEAD}"
                ) from error
            added = self._before.added()
            inner = [module for module, _ in added if module is not model]
            inner = inner or (library_blocks(model) if KINDS[wish.name].keeps_blocks else [])
            if not inner:
                raise UnsupportedError(f"{cls} has no attention that diffusers' {wish.name} knows; {INSTEAD}")
        except BaseException:
            self._before.restore(self._before.added())
            raise
        self._added = added
        hooks = [vars(module)["_diffusers_hook"].get_hook(name) for module, name in added]
        self._managers = {id(m): m for hook in hooks if (m := getattr(hook, "state_manager", None)) is not None}
        # PAB and FasterCache hold one state for all calls: ours to swap, lest one guidance branch be answered with the
        # other's features.
        self._states: list[tuple[Any, dict[str, Any]]] = [(hook, {}) for hook in hooks if hasattr(hook, "state")]
        self._signature = inspect.signature(model.forward)
        self._rows = (
            0  # the batch that came to the innermost layers of a module which the library may pass over; 0: passed over
        )
        leaves = [m for m in inner[-1].modules() if m is not inner[-1] and next(m.children(), None) is None]
        self._ours = [leaf.register_forward_pre_hook(self._witness, with_kwargs=True) for leaf in leaves]
        self._ours += [
            model.register_forward_pre_hook(self._begin, with_kwargs=True),
            model.register_forward_hook(self._end),
        ]

    @contextmanager
    def at(self, moment: _Moment, words: dict[str, Any]) -> Iterator[None]:
        for hook, states in self._states:
            hook.state = states.setdefault(moment.branch, type(hook.state)())
        known = inspect.signature(self._model.cache_context).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in known.values()):  # diffusers before 0.42 takes the branch alone
            words = {word: value for word, value in words.items() if word in known}
        self.moment = moment
        try:
            with self._model.cache_context(moment.branch, **words):
                yield
        finally:
            self.moment = None

    def _timestep(self) -> float:
        """What the library's callback asks. The first call of a branch is of no timestep at which anything may be
        skipped."""
        if self.moment is None or self.moment.timestep is None:
            raise InputError(
                f"{self._wish.name} depends on the timestep; put handle.at(step, branch, timestep=t) around each model call"
            )
        return self.moment.timestep if self.moment.branch in self.calls else math.inf

    def _begin(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._rows = 0
        if self._wish.name == "seacache" and "hidden_states" in self._signature.parameters:
            check_latents(model, self._signature.bind_partial(*args, **kwargs).arguments, "seacache")
        if self._wish.name == "fastercache" and not self._wish.distilled:
            check_halves(model, self._signature.bind_partial(*args, **kwargs).arguments)
        if self._wish.name == "magcache" and (step := self._told("step", "step_index")) is not None:
            for (
                manager
            ) in self._managers.values():  # it counts the calls of this model, which is wrong where two share a run
                manager.get_state().step_index = step

    def _witness(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        sizes = (x.shape[0] for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor) and x.ndim > 0)
        self._rows = self._rows or next(sizes, 1)

    def _end(self, *_: Any) -> None:
        branch, rows, step = str(self._told("branch", "name") or ""), self._rows, self._told("step", "step_index")
        self._full[branch] = max(rows, self._full.get(branch, 0))
        count = self.calls.setdefault(branch, [0, 0])
        if self._wish.name == "magcache" and self._wish.mag_ratios is None:
            for manager in self._managers.values():
                self._ratios.setdefault(sum(count) if step is None else step, []).append(
                    float(manager.get_state().calibration_ratios[-1])
                )
        count[0 if rows and rows == self._full[branch] else 1] += 1

    def _told(self, mine: str, context: str) -> Any:
        """What `at` was told, or, in a pipeline that opens the library's contexts itself, what that says."""
        found = next((c for m in self._managers.values() if (c := m._context) is not None), None)
        return getattr(self.moment, mine) if self.moment else getattr(found, context, None)

    def reset(self) -> None:
        self._model._reset_stateful_cache()
        for _, states in self._states:
            states.clear()
        self.calls.clear()
        self._full.clear()

    def __reduce__(self) -> Any:
        raise InputError(
            "a model cannot be copied or saved as a whole while a library cache is attached; close() the handle first"
        )

    def close(self) -> None:
        for hook in self._ours:
            hook.remove()
        self._before.restore(self._added)


class _Snapshot:
    """What a model's modules carried before, to find what enabling added and to leave nothing of it."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._own = {module: {key for key in _OWN if key in vars(module)} for module in model.modules()}
        self._names = {module: hooks_of(module).keys() for module in self._own}

    def added(self) -> list[tuple[nn.Module, str]]:
        """(module, name of the library's hook) of all that came since, in the order of the modules."""
        return [
            (module, name) for module, names in self._names.items() for name in hooks_of(module) if name not in names
        ]

    def restore(self, added: list[tuple[nn.Module, str]]) -> None:
        if self._model.is_cache_enabled:
            self._model.disable_cache()
        for module, name in reversed(added):
            if name in hooks_of(module):  # enabling failed half way
                vars(module)["_diffusers_hook"].remove_hook(name, recurse=False)
        for module, own in self._own.items():
            for key in set(_OWN) - own if not hooks_of(module) else ():  # others' hooks may have come meanwhile
                vars(module).pop(key, None)
            if "_diffusers_hook" in vars(module):
                vars(module)["_diffusers_hook"]._child_registries_cache = None
