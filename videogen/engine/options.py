"""Options of `Engine.generate`: the fields of a render request, the frame size, and how the call runs.

`GenerateOptions` states them for type checkers. A test compares it with `RenderRequest`, so that the two agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from os import PathLike
from typing import TYPE_CHECKING, Any, TypedDict

from videogen.core.errors import InputError, unknown
from videogen.core.stored_keys import REQUEST_KEYS, with_current_keys
from videogen.request.conditions import Conditions
from videogen.request.request import RenderRequest

from .seeds import SEED_OPTIONS, pair_with_seeds

if TYPE_CHECKING:
    from videogen.attention.config import SparseAttention
    from videogen.motion.control import MotionControl
    from videogen.motion.spec import Motion
    from videogen.propagation.caches import LibraryCache
    from videogen.propagation.config import StepCaching
    from videogen.request.continuity import Continuity
    from videogen.sampling.progress import ProgressCallback
    from videogen.sampling.technique import Technique
    from videogen.timeline import Timeline


class GenerateOptions(TypedDict, total=False):
    """The keywords of `Engine.generate`: those of `RenderRequest`, then `size` and the options of the call itself."""

    negative_prompt: str | None
    model: str | None
    frames: int | None
    width: int | None
    height: int | None
    steps: int | None
    guidance_scale: float | None
    guidance_scale_2: float | None
    seed: int | Sequence[int] | None
    solver: str | None
    fps: float | None
    noise: str
    guidance_mode: str | None
    dtype: str | None
    device: str | None
    offload: str | None
    compile: bool | str
    channels_last: bool
    vae_tiling: bool
    validate: bool
    strict: bool
    attention: str | dict[str, Any] | SparseAttention
    recall: float | None
    propagate: str | dict[str, Any] | StepCaching | LibraryCache
    motion: Motion | list[dict[str, Any]] | dict[str, Any] | str | PathLike[str] | None
    motion_strength: float | None
    motion_backend: str | MotionControl | None
    first_frame: str | PathLike[str] | None
    story: Timeline | list[Any] | dict[Any, Any] | str | PathLike[str] | None
    seconds: float | None
    continuity: str | dict[str, Any] | Continuity | None
    window: int | None
    retries: int
    conditions: Conditions | dict[str, Any] | None
    options: dict[str, Any] | None
    memory: str | int | None
    base: str | PathLike[str] | None
    revision: str | None
    transformer: str | PathLike[str] | None
    transformer_2: str | PathLike[str] | None
    unet: str | PathLike[str] | None
    vae: str | PathLike[str] | None
    text_encoder: str | PathLike[str] | None
    motion_adapter: str | PathLike[str] | None
    precision: str | None
    loras: list[Any] | tuple[Any, ...] | None
    embeddings: list[Any] | tuple[Any, ...] | None
    shift: float | None
    image: Any
    last_image: Any
    images: Mapping[int, Any]
    video: Any
    mask: Any
    control: Mapping[str, Any]
    references: Sequence[Any]
    audio: Any
    strength: float | None
    fit: str
    size: tuple[int, int] | None
    techniques: Sequence[Technique]
    progress: ProgressCallback | None
    preview_every: int
    batch_size: int | None


#: Conditions, each a keyword of its own: the fields of `Conditions`.
CONDITION_OPTIONS = tuple(field.name for field in fields(Conditions))
#: Options of the call, which are not part of a request.
CALL_OPTIONS = ("techniques", "progress", "preview_every", "batch_size")


def build_requests(prompt: object, options: Mapping[str, Any]) -> list[RenderRequest]:
    """A request for each prompt, the i-th with seed + i, or with the i-th of several seeds; with `seeds` or `count` for
    each prompt and each of the seeds. InputError for a prompt, an option or a value that is not valid."""
    values = with_current_keys(dict(options), REQUEST_KEYS)
    known = [field.name for field in fields(RenderRequest) if field.name != "prompt"]
    known += [*CONDITION_OPTIONS, "size", *CALL_OPTIONS, *SEED_OPTIONS]
    for name in values:
        if name not in known:
            raise unknown("option", name, known)
    values = _with_conditions(values)
    size = values.pop("size", None)
    if size is not None:
        values |= _sides(size, values)
    pairs = pair_with_seeds(_prompts(prompt), values)
    no_fields = ("seed", *CALL_OPTIONS, *SEED_OPTIONS)
    values = {name: value for name, value in values.items() if name not in no_fields}
    return [RenderRequest(prompt=text, **values, seed=seed) for text, seed in pairs]


def _with_conditions(values: dict[str, Any]) -> dict[str, Any]:
    """The options with each condition's keyword put into `conditions`."""
    given = {name: values.pop(name) for name in CONDITION_OPTIONS if values.get(name) is not None}
    values = {name: value for name, value in values.items() if name not in CONDITION_OPTIONS}
    if not given:
        return values
    if values.get("conditions") is not None:
        raise InputError(f"conditions and {', '.join(given)} are both given; put all of them into conditions, or none")
    return values | {"conditions": given}


def _prompts(prompt: object) -> list[str]:
    texts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"prompt={prompt!r} must be a text or a list of texts")
    if not texts:
        raise InputError(f"prompt={prompt!r} has no text; say what each video shows")
    return list(texts)


def _sides(size: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """width and height of a size."""
    for name in ("width", "height"):
        if values.get(name) is not None:
            raise InputError(f"size={size!r} and {name}={values[name]} both set the frame size; give one of them")
    try:
        width, height = size
    except (TypeError, ValueError):
        raise InputError(f"size={size!r} must be (width, height) in px, such as (832, 480)") from None
    return {"width": width, "height": height}
