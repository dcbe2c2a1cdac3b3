"""Arguments of a hosted pipeline's call: the engine's names into the pipeline's own, by its signature."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from videogen.core.errors import InputError, unknown
from videogen.core.lazy import load_object

from ..clip import ClipSpec
from ..given import Given
from .option_types import check_option
from .pipeline_row import PipelineRow

_LENGTH = ("num_frames", "frames", "video_length")
_RATE = ("fps", "frame_rate", "target_fps")
_SCALE = ("guidance_scale", "max_guidance_scale")
#: arguments that the engine states -> its keyword, and the option of the command line
_KEYWORDS: dict[str, str] = {
    "prompt": "the prompt", "negative_prompt": "negative_prompt (--negative)", "height": "height (--size)",
    "width": "width (--size)", "num_inference_steps": "steps (--steps)", "generator": "seed (--seed)",
    "num_videos_per_prompt": "several prompts or seeds",
    "num_images_per_prompt": "several prompts or seeds", "seed": "seed (--seed)",
    **dict.fromkeys(_LENGTH, "frames (--frames)"), **dict.fromkeys(_RATE, "fps (--fps)"),
    **dict.fromkeys(_SCALE, "guidance_scale (--guidance)"),
}  # fmt: skip
#: the scale of guidance by a negative prompt, of pipelines whose guidance_scale is an input of a distilled model
_TRUE_CFG = "true_cfg_scale"
#: arguments that would take a clip out of the engine's hands
_UNAVAILABLE = (
    "latents", "output_type", "return_dict", "callback", "callback_steps", "callback_on_step_end",
    "callback_on_step_end_tensor_inputs", "timesteps", "self", "kwargs",
)  # fmt: skip


def is_modular(pipeline: Any) -> bool:
    """Whether this is a modular pipeline: an object, since its blocks are its own and not its class's."""
    return not isinstance(pipeline, type) and hasattr(pipeline, "_blocks")


def parameters_of(pipeline_class: Any) -> Mapping[str, inspect.Parameter]:
    """Parameters of a pipeline's call by name. pipeline_class: or a modular pipeline, whose blocks have inputs."""
    if is_modular(pipeline_class):
        inputs = [given for given in pipeline_class._blocks.inputs if given.name]
        kind = inspect.Parameter.KEYWORD_ONLY
        hints = {given.name: getattr(given, "type_hint", None) or inspect.Parameter.empty for given in inputs}
        return {
            given.name: inspect.Parameter(given.name, kind, default=given.default, annotation=hints[given.name])
            for given in inputs
        }
    return inspect.signature(_function(pipeline_class)).parameters


def _function(pipeline_class: Any) -> Any:
    """The function of a pipeline's call, as it is annotated."""
    return inspect.unwrap(pipeline_class.__call__)


def find_parameter(pipeline_class: Any, names: Sequence[str]) -> str | None:
    """The first of the names that a pipeline's call takes."""
    known = parameters_of(pipeline_class)
    return next((name for name in names if name in known), None)


def length_parameter(pipeline_class: Any) -> str | None:
    return find_parameter(pipeline_class, _LENGTH)


def rate_parameter(pipeline_class: Any) -> str | None:
    return find_parameter(pipeline_class, _RATE)


def takes_guidance(pipeline_class: Any) -> bool:
    """Whether a pipeline can be guided: by an argument of its call, or by a guider component."""
    return find_parameter(pipeline_class, _SCALE) is not None or "guider" in _component_names(pipeline_class)


def ignores_negative_prompt(pipeline_class: Any, scale: float, options: Mapping[str, Any]) -> str:
    """As `ResolvableModel.ignores_negative_prompt`."""
    known = parameters_of(pipeline_class)
    if "negative_prompt" not in known:
        return "here: the pipeline takes none; leave it out"
    if _TRUE_CFG in known:
        true_scale = options.get(_TRUE_CFG, known[_TRUE_CFG].default)
        if true_scale > 1:
            return ""
        return f"with {_TRUE_CFG}={true_scale:g}; raise that above 1 (--set {_TRUE_CFG}=6), or leave it out"
    scales = [scale, *(value for name, value in options.items() if name.endswith("guidance_scale"))]
    if any(one is not None and one > 1 for one in scales):
        return ""
    return f"with guidance_scale={scale:g}; raise it above 1"


def _component_names(pipeline_class: Any) -> Sequence[str]:
    if is_modular(pipeline_class):
        return list(pipeline_class.components)
    return list(inspect.signature(pipeline_class.__init__).parameters)


def option_names(pipeline_class: Any, row: PipelineRow) -> list[str]:
    """The pipeline's own arguments, which a request may set as `options`."""
    taken = {*_KEYWORDS, *_UNAVAILABLE, *row.inputs.values()}
    return sorted(name for name in parameters_of(pipeline_class) if name not in taken)


def check_options(pipeline_class: Any, row: PipelineRow, options: Mapping[str, Any]) -> None:
    """InputError for an option that the pipeline does not take, with the nearest name, that the engine states itself,
    with its own name, or whose value is of another type."""
    known, parameters = option_names(pipeline_class, row), parameters_of(pipeline_class)
    for name in options:
        if name in known:
            check_option(_function(pipeline_class), parameters[name], options[name], row.name)
            continue
        keyword = _keyword_of(row, name)
        if keyword is not None:
            raise InputError(f"option {name}={options[name]!r} of {row.name} is given by {keyword}; set that instead")
        if name in _UNAVAILABLE:
            raise InputError(f"option {name} of {row.name} cannot be set: the engine uses it itself; leave it out")
        raise unknown(f"option of {row.name}", name, known)


def _keyword_of(row: PipelineRow, name: str) -> str | None:
    """The engine's keyword, and the option of the command line, that stand for a pipeline's argument."""
    if name in _KEYWORDS:
        return _KEYWORDS[name]
    key = next((key for key, argument in row.inputs.items() if argument == name), None)
    if key is None:
        return None
    kind, _, control = key.partition(":")
    if kind == "control":
        return f"control={{{control or 'NAME'!r}: ...}} (--control {control or 'NAME'}=FILE)"
    option = {"references": "reference"}.get(kind, kind.replace("_", "-"))
    return f"{kind}=... (--{option})"


def build_arguments(
    pipeline: Any, row: PipelineRow, spec: ClipSpec, prompts: Sequence[str], negatives: Sequence[str] | None
) -> dict[str, Any]:
    """Keywords of the pipeline's call for a batch of clips; without its generator.

    pipeline: the copy that will run; where guidance is a component, the copy gets one of the scale.
    """
    kind = pipeline if is_modular(pipeline) else type(pipeline)
    known = parameters_of(kind)
    values: dict[str, Any] = {
        "prompt": _one_or_list(prompts),
        "negative_prompt": _negative_prompt(row, known, negatives),
        "height": spec.height,
        "width": spec.width,
        "num_inference_steps": spec.steps,
        "output_type": "np",
    }
    for names, value in ((_LENGTH, spec.frames), (_RATE, spec.fps), (_SCALE, spec.guidance_scale)):
        if (name := find_parameter(kind, names)) is not None:
            values[name] = value
    if spec.guidance_scale_2 is not None:
        values["guidance_scale_2"] = spec.guidance_scale_2
    if not any(name in known for name in _SCALE):
        _set_guiders(pipeline, spec)
    values = {name: value for name, value in values.items() if name in known and value is not None}
    if "seed" in known:  # of a call that would seed a generator of its own
        values["seed"] = None
    values |= _condition_arguments(row, spec)
    return values | dict(spec.options)


def _set_guiders(pipeline: Any, spec: ClipSpec) -> None:
    """Give the pipeline's copy guiders of the scales, where guidance is a component."""
    second = spec.guidance_scale if spec.guidance_scale_2 is None else spec.guidance_scale_2
    for name, scale in (("guider", spec.guidance_scale), ("guider_2", second)):
        if getattr(pipeline, name, None) is not None:
            vars(pipeline)[name] = getattr(pipeline, name).new(guidance_scale=scale)


def _negative_prompt(
    row: PipelineRow, known: Mapping[str, inspect.Parameter], negatives: Sequence[str] | None
) -> str | list[str] | None:
    """The negative prompts; where all are empty, None for the pipeline's own default, unless that is a text."""
    if negatives is None:
        return None
    texts = row.negative_text or ("negative_prompt" in known and isinstance(known["negative_prompt"].default, str))
    return _one_or_list(negatives) if any(negatives) or texts else None


def _condition_arguments(row: PipelineRow, spec: ClipSpec) -> dict[str, Any]:
    if row.adapter and spec.given:
        made: dict[str, Any] = load_object(row.adapter, __package__)(spec.given, spec)
        return made
    found: dict[str, Any] = {}
    for given in spec.given:
        argument = _argument_of(row, given)
        if given.kind in ("references", "images"):
            found.setdefault(argument, []).append(given.value)
        else:
            found[argument] = given.value
    numbered = sorted((one for one in spec.given if one.kind == "control" and one.name.isdecimal()), key=_number)
    if len(numbered) > 1:  # of several control networks
        found[_argument_of(row, numbered[0])] = [given.value for given in numbered]
    return found


def _number(given: Given) -> int:
    return int(given.name)


def _argument_of(row: PipelineRow, given: Given) -> str:
    """The pipeline's argument of a condition; a control of any name where the row has `control:`."""
    for key in (given.key, f"{given.kind}:", given.kind):
        if key in row.inputs:
            return row.inputs[key]
    raise InputError(f"{row.name} takes no {given.key}; it takes {', '.join(row.inputs) or 'a prompt alone'}")


def _one_or_list(texts: Sequence[str]) -> str | list[str]:
    return texts[0] if len(texts) == 1 else list(texts)
