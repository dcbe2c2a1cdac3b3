"""State of a technique during one sampling run, on a ComfyUI model.

A node returns a clone of its MODEL on which one wrapper around the sampling run opens the state, adds the wrappers that
the state brings, and closes it in the end, after an error or an interruption too. Nothing of a run is stored on the
model, a node or a module, so the original model and the next run find nothing of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

#: names of ComfyUI's wrapper types (`comfy.patcher_extension.WrappersMP`), in the order in which a run enters them
OUTER_SAMPLE = "outer_sample"
SAMPLER_SAMPLE = "sampler_sample"
PREDICT_NOISE = "predict_noise"
CALC_COND_BATCH = "calc_cond_batch"
APPLY_MODEL = "apply_model"
DIFFUSION_MODEL = "diffusion_model"

Wrapper = Callable[..., Any]
_FURTHER = ("denoise_mask", "callback", "disable_pbar", "seed")  # arguments of a run, after its sigmas
_REPORTS = 8  # of the latest runs: one MODEL may feed several samplers


@dataclass(frozen=True)
class RunContext:
    """What a run is opened with. guider: ComfyUI's, with the run's own copy of the model options; sigmas [steps + 1];
    latent_shapes: of the latents, one per modality, where the host states them."""

    guider: Any
    sampler: Any
    sigmas: Any
    latent_shapes: tuple[tuple[int, ...], ...] = ()

    @property
    def sampler_name(self) -> str:
        """Such as `sample_euler`; empty for a sampler without a function of its own."""
        function = getattr(self.sampler, "sampler_function", None)
        return str(getattr(function, "__name__", ""))

    @property
    def model(self) -> Any:
        """ComfyUI's model (`BaseModel`), of which `diffusion_model` is the denoiser."""
        return self.guider.model_patcher.model

    @property
    def transformer_options(self) -> dict[str, Any]:
        """The run's own copy."""
        options: dict[str, Any] = self.guider.model_options.setdefault("transformer_options", {})
        return options


class ModelRun(Protocol):
    """State of a technique during one run."""

    def wrappers(self) -> Mapping[str, Wrapper]:
        """Wrapper type -> wrapper, added for the run."""

    def report(self) -> Any:
        """What the run measured; called once, at its end."""

    def close(self) -> None:
        """Release what the run holds."""


@runtime_checkable
class DividedRun(Protocol):
    """A `ModelRun` that makes several sampling runs of one, such as the clips of a long video. args: noise mask,
    callback, whether to hide the progress bar, and seed."""

    def sample(self, executor: Any, noise: Any, latent_image: Any, sampler: Any, sigmas: Any, *args: Any) -> Any:
        """The result, as of `executor(noise, latent_image, ...)`, which is one run."""


class RunOpener:
    """The wrapper around a sampling run. key: of the technique; open_run: makes its state."""

    def __init__(self, key: str, open_run: Callable[[RunContext], ModelRun]) -> None:
        self.key = key
        self.open_run = open_run
        #: of the latest runs, the newest last
        self.reports: deque[Any] = deque(maxlen=_REPORTS)

    def __call__(
        self, executor: Any, noise: Any, latent_image: Any, sampler: Any, sigmas: Any, *args: Any, **kwargs: Any
    ) -> Any:
        shapes = tuple(tuple(shape) for shape in kwargs.get("latent_shapes") or (noise.shape,))
        guider = executor.class_obj
        run = self.open_run(RunContext(guider, sampler, sigmas, shapes))
        added = dict(run.wrappers())
        for kind, wrapper in added.items():
            _wrappers_of(guider, kind).setdefault(self.key, []).append(wrapper)
        try:
            if isinstance(run, DividedRun):
                rest = (kwargs[name] for name in _FURTHER[len(args) :] if name in kwargs)
                result = run.sample(executor, noise, latent_image, sampler, sigmas, *args, *rest)
            else:
                result = executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
            self.reports.append(run.report())
            return result
        finally:
            for kind, wrapper in added.items():
                _wrappers_of(guider, kind)[self.key].remove(wrapper)
            run.close()


def with_runs(model: Any, key: str, open_run: Callable[[RunContext], ModelRun]) -> Any:
    """A clone of a MODEL whose runs have the technique; one that it had under the same key is replaced."""
    clone = model.clone()
    clone.remove_wrappers_with_key(OUTER_SAMPLE, key)
    clone.add_wrapper_with_key(OUTER_SAMPLE, key, RunOpener(key, open_run))
    return clone


def find_opener(model: Any, key: str) -> RunOpener | None:
    """The technique's on a MODEL; None where it has none."""
    found = model.get_wrappers(OUTER_SAMPLE, key)
    return next((one for one in found if isinstance(one, RunOpener)), None)


def find_options(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The `transformer_options` that a wrapper of the denoiser was called with, by keyword or by position."""
    given = kwargs.get("transformer_options")
    if isinstance(given, dict):
        return given
    return next(one for one in reversed(args) if isinstance(one, dict) and "wrappers" in one)


def _wrappers_of(guider: Any, kind: str) -> dict[str, list[Wrapper]]:
    options = guider.model_options.setdefault("transformer_options", {})
    found: dict[str, list[Wrapper]] = options.setdefault("wrappers", {}).setdefault(kind, {})
    return found
