"""Feature caches of diffusers: attached to a model or pipeline by name, given each step of the run, detached again.

The caches are the library's code (`diffusers.hooks`). This module refuses a cache where it would raise late, do nothing
or give wrong results; separates guidance branches, even in caches that have one state for all calls; and restores every
module. It promises no error: for that, see `config.StepCaching`. Their names are in `caches`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from videogen.core.denoisers import find_denoisers
from videogen.core.errors import InputError, UnsupportedError, unknown

from .caches import CACHES, CacheRequest, LibraryCache
from .library_checks import SEPARATE_CALLS, check_works
from .library_model import CachedModel, LibraryContext

#: A timestep as schedulers give it: a number or a tensor.
Timestep = float | torch.Tensor


def attach_library(
    target: object, cache: LibraryCache | str, *, steps: int | None = None,
    mag_ratios: Sequence[float] | None = None, is_guidance_distilled: bool = False,
) -> LibraryHandle:  # fmt: skip
    """Enable one of the library's caches on a model, or on all denoisers of a pipeline, until `close()`.

    steps: the number of steps of a run; magcache and seacache need it. mag_ratios: for magcache, from
    `calibrate_magcache`; the library fits them to `steps`. is_guidance_distilled: for fastercache; True if each call is
    of one guidance branch, or there is no guidance, False if the unconditional and the conditional half are one batch,
    in this order.

    The handle is also a context manager. Compile, copy or save a model before or after, not while this is attached.
    Raises InputError, and UnsupportedError with an alternative if the cache does not work for the class of model.
    """
    found = LibraryCache.parse(cache) if isinstance(cache, str) else cache
    if not isinstance(found, LibraryCache):
        raise unknown("cache", str(cache), CACHES)
    ratios = None if mag_ratios is None else tuple(mag_ratios)
    request = CacheRequest(found, steps, ratios, is_guidance_distilled)
    if request.measures_ratios:
        raise UnsupportedError(
            f"{found.name} needs this model's magnitude ratios; measure them with calibrate_magcache, give mag_ratios"
        )
    return LibraryHandle(target, request)


def calibrate_magcache(target: object, run: Callable[[LibraryHandle], object], *, steps: int) -> list[float]:
    """Measure the magnitude ratios of a model or pipeline: [steps], one per step, the mean over guidance branches.

    run: makes one full run of `steps` steps, with `handle.at(...)` around each model call (or with a pipeline that
    opens the library's cache contexts itself). Ratios are specific to a checkpoint and a schedule of steps. Raises the
    errors of `attach_library`.
    """
    with LibraryHandle(target, CacheRequest(LibraryCache("magcache"), steps, None, False)) as handle:
        run(handle)
        found = handle.ratios
    if sorted(found) != list(range(steps)):
        raise InputError(
            f"the run evaluated steps {sorted(found)}, but steps={steps}; calibrate with a full run of that many steps"
        )
    return [sum(found[step]) / len(found[step]) for step in range(steps)]


class LibraryHandle:
    """One of the library's caches on a model or pipeline. `at` gives the step; `close()` detaches the cache."""

    def __init__(self, target: object, request: CacheRequest) -> None:
        self._request, self._closed = request, False
        self.ratios: dict[int, list[float]] = {}  # step -> ratio per branch, measured by calibration of magcache
        self._last_step: dict[str, int] = {}  # of each branch
        models = find_denoisers(target)
        for model in models.values():
            check_works(model, request)
        self._models: list[CachedModel] = []
        try:
            for name, model in models.items():
                self._models.append(CachedModel(name, model, request, self.ratios, self))
        except BaseException:
            self.close()
            raise

    @contextmanager
    def at(
        self, step: int, branch: str, timestep: Timestep | None = None, sigma: float | None = None
    ) -> Iterator[None]:
        """Give the step and guidance branch of the one model call in this block. Raises InputError.

        The steps of a branch increase; step 0 again begins a new run. Windows and stages of a step are separate
        branches. timestep: from 1000 for pure noise to 0; pab and fastercache need it. sigma: the fraction of noise,
        from 0 to 1, in z = (1 - sigma) x + sigma noise; seacache needs it.
        """
        context = self._check_context(step, branch, timestep, sigma)
        if step <= self._last_step.get(branch, -1) or (step == 0 and any(self._last_step.values())):
            if step > 0:
                raise InputError(
                    f"step {step} of branch {branch!r} comes after its step {self._last_step[branch]}; give windows "
                    "and stages of a step separate branch names, or reset() before a new run"
                )
            self.reset()
        self._last_step[branch] = step
        values = {
            "step_index": step,
            "num_inference_steps": self._request.steps,
            "timestep": context.timestep,
            "sigma": sigma,
        }
        with ExitStack() as stack:
            for model in self._models:
                stack.enter_context(model.at(context, values))
            yield

    def _check_context(self, step: int, branch: str, timestep: Timestep | None, sigma: float | None) -> LibraryContext:
        name, steps, needs = self._request.name, self._request.steps, self._request.kind.needs
        if self._closed:
            raise InputError("this handle is closed; attach_library again")
        if isinstance(step, bool) or not isinstance(step, int) or step < 0 or (steps is not None and step >= steps):
            last = "the last step" if steps is None else steps - 1
            raise InputError(f"step={step!r} must be a whole number from 0 to {last}")
        if timestep is None and "timestep" in needs:
            raise InputError(f"{name} depends on the timestep; give at(..., timestep=t)")
        if "sigma" in needs and (sigma is None or not 0 <= sigma <= 1):
            raise InputError(f"sigma={sigma!r}: {name} needs the fraction of noise, from 0 to 1; give at(..., sigma=s)")
        if self._request.pairs_branches and any(other != branch for other in self._last_step):
            raise InputError(
                f"a second branch {branch!r}: {name} expects both halves of the guidance in one batch; {SEPARATE_CALLS}"
            )
        return LibraryContext(step, branch, None if timestep is None else float(torch.as_tensor(timestep).max()))

    def reset(self) -> None:
        """Empty the cache for a new run. InputError within `at`."""
        if any(model.context for model in self._models):
            raise InputError("reset() within at(...) would lose the branch; reset between the model calls")
        self._last_step.clear()
        for model in self._models:
            model.reset()

    def report(self) -> dict[str, Any]:
        """The cache and its number, and how many model calls of this run computed all or reused something, in total
        and by model and branch."""
        calls = {
            model.name: {b: {"computed": c, "reused": r} for b, (c, r) in model.calls.items()} for model in self._models
        }
        total = {
            what: sum(n[what] for branches in calls.values() for n in branches.values())
            for what in ("computed", "reused")
        }
        return {"name": self._request.name, "value": self._request.cache.value, **total, "calls": calls}

    def close(self) -> None:
        """Restore every model."""
        for model in reversed(() if self._closed else self._models):
            model.close()
        self._closed = True

    def __enter__(self) -> LibraryHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
