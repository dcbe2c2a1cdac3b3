"""State of a technique during one sampling run, on a ComfyUI model.

A node returns a clone of its MODEL on which one wrapper around the sampling run opens the state, adds the wrappers that
the state brings, and closes it in the end, after an error or an interruption too. Nothing of a run is stored on the
model, a node or a module, so the original model and the next run find nothing of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from videogen.core.errors import UnsupportedError

from .run_parts import RunPart

#: names of ComfyUI's wrapper types (`comfy.patcher_extension.WrappersMP`), in the order in which a run enters them
OUTER_SAMPLE = "outer_sample"
SAMPLER_SAMPLE = "sampler_sample"
PREDICT_NOISE = "predict_noise"
CALC_COND_BATCH = "calc_cond_batch"
APPLY_MODEL = "apply_model"
DIFFUSION_MODEL = "diffusion_model"

Wrapper = Callable[..., Any]
_FURTHER = ("denoise_mask", "callback", "disable_pbar", "seed")  # arguments of a run, after its sigmas
_CLIPS = "videogen_clip_reports"  # in the model options of a divided run
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
    def model_sampling(self) -> Any:
        """ComfyUI's `ModelSampling` of this run, such as a node for the shift sets it. The model itself has that of the
        run before, as it is patched only when it is loaded."""
        return self.guider.model_patcher.get_model_object("model_sampling")


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
    """The wrapper around a sampling run. key: of the technique; open_run: makes its state, and has the attribute
    `divides`, true, where that is a `DividedRun`."""

    def __init__(self, key: str, open_run: Callable[[RunContext], ModelRun]) -> None:
        self.key = key
        self.open_run = open_run
        self.divides = bool(getattr(open_run, "divides", False))
        #: of the latest runs, the newest last; of a run that another technique divides, a list of those of its clips
        self.reports: deque[Any] = deque(maxlen=_REPORTS)
        #: which part of a run the newest report is of
        self.part = RunPart(0, 0, 0)

    def __call__(
        self, executor: Any, noise: Any, latent_image: Any, sampler: Any, sigmas: Any, *args: Any, **kwargs: Any
    ) -> Any:
        shapes = tuple(tuple(shape) for shape in kwargs.get("latent_shapes") or (noise.shape,))
        guider = executor.class_obj
        context = RunContext(guider, sampler, sigmas, shapes)
        part = RunPart.find(context.model_sampling, sigmas)
        run = self.open_run(context)
        added = dict(run.wrappers())
        if why := _why_declined(guider, added):
            run.close()
            result = executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
            self._store(guider, {"declined": why}, part)
            return result
        for kind, wrapper in added.items():
            _wrappers_of(guider, kind).setdefault(self.key, []).append(wrapper)
        try:
            if isinstance(run, DividedRun):
                rest = (kwargs[name] for name in _FURTHER[len(args) :] if name in kwargs)
                with _clip_reports(guider):
                    result = run.sample(executor, noise, latent_image, sampler, sigmas, *args, *rest)
            else:
                result = executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
            self._store(guider, run.report(), part)
            return result
        finally:
            for kind, wrapper in added.items():
                _wrappers_of(guider, kind)[self.key].remove(wrapper)
            run.close()

    def _store(self, guider: Any, report: Any, part: RunPart) -> None:
        """The report of a run, or of one of the clips of a divided run, which become one report at its end."""
        self.part = part
        clips: dict[RunOpener, list[Any]] | None = guider.model_options.get(_CLIPS)
        if clips is None:
            self.reports.append(report)
        else:
            clips.setdefault(self, []).append(report)


def with_runs(model: Any, key: str, open_run: Callable[[RunContext], ModelRun]) -> Any:
    """A clone of a MODEL whose runs have the technique; one that it had under the same key is replaced.

    One that divides runs goes above the other techniques, which see clips: the order of nodes has no effect.
    """
    clone = model.clone()
    clone.remove_wrappers_with_key(OUTER_SAMPLE, key)
    opener = RunOpener(key, open_run)
    below = _openers_of(clone) if opener.divides else []
    for one in below:
        clone.remove_wrappers_with_key(OUTER_SAMPLE, one.key)
    for one in (opener, *below):
        clone.add_wrapper_with_key(OUTER_SAMPLE, one.key, one)
    return clone


def find_opener(model: Any, key: str) -> RunOpener | None:
    """The technique's on a MODEL; None where it has none."""
    found = model.get_wrappers(OUTER_SAMPLE, key)
    return next((one for one in found if isinstance(one, RunOpener)), None)


def find_options(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The `transformer_options` that a wrapper of the denoiser was called with, by keyword or by position.
    UnsupportedError where there are none."""
    given = kwargs.get("transformer_options")
    if isinstance(given, dict):
        return given
    found = next((one for one in reversed(args) if isinstance(one, dict) and "wrappers" in one), None)
    if found is None:
        raise UnsupportedError(
            "the model was called without transformer_options, which videogen's nodes need: update ComfyUI, or bypass "
            "the node that calls the model"
        )
    return found


def _openers_of(model: Any) -> list[RunOpener]:
    """The techniques of a MODEL, the outermost first."""
    found = (one for wrappers in model.wrappers.get(OUTER_SAMPLE, {}).values() for one in wrappers)
    return [one for one in found if isinstance(one, RunOpener)]


def _why_declined(guider: Any, wrappers: Mapping[str, Wrapper]) -> str:
    """Why a run has to be plain: the state of a technique at the model's calls is that of one thread."""
    models = guider.model_patcher.get_additional_models_with_key("multigpu")
    if not models or not {APPLY_MODEL, DIFFUSION_MODEL}.intersection(wrappers):
        return ""
    return f"the model is on {len(models) + 1} GPUs, which are called at the same time; it needs a model on one GPU"


@contextmanager
def _clip_reports(guider: Any) -> Iterator[None]:
    """Make one report of those that other techniques give for each clip of a divided run; none after an error."""
    clips: dict[RunOpener, list[Any]] = {}
    guider.model_options[_CLIPS] = clips
    try:
        yield
    finally:
        del guider.model_options[_CLIPS]
    for opener, reports in clips.items():
        opener.reports.append(reports[0] if len(reports) == 1 else reports)


def _wrappers_of(guider: Any, kind: str) -> dict[str, list[Wrapper]]:
    options = guider.model_options.setdefault("transformer_options", {})
    found: dict[str, list[Wrapper]] = options.setdefault("wrappers", {}).setdefault(kind, {})
    return found
