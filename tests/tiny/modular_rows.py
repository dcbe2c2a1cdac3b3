"""How a row of a modular pipeline is made: its components, its call, the scales of its guiders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.tiny import parts, wan
from tests.tiny.table import Tiny, TinyCall

Words = dict[str, Any]
SHORT: Words = {"max_sequence_length": 16}
#: of guiders where guidance is on
SCALE = 5.0


def leave(pipeline: Any) -> None:
    return None


def builder(name: str, components: Callable[[], Words], finish: Callable[[Any], None] = leave) -> Callable[[], Any]:
    """A function that builds the class of this name with these components. finish: sets what is not one of them."""

    def build() -> Any:
        import diffusers

        parts.seed()
        pipeline = getattr(diffusers, name)()
        pipeline.update_components(**components())
        finish(pipeline)
        for block in all_blocks(pipeline._blocks):
            if hasattr(block, "set_progress_bar_config"):
                block.set_progress_bar_config(disable=True)
        return pipeline

    return build


def all_blocks(block: Any) -> Iterator[Any]:
    """The block and those that it is made of, at each depth: the pipeline's own method reaches the first only."""
    yield block
    for part in (getattr(block, "sub_blocks", None) or {}).values():
        yield from all_blocks(part)


def set_guidance(pipeline: Any, *, guided: bool) -> None:
    """The scale of each guider of the video that the pipeline has."""
    scale = SCALE if guided else 1.0
    guiders = {name: getattr(pipeline, name) for name in ("guider", "guider_2") if hasattr(pipeline, name)}
    pipeline.update_components(**{name: guider.new(guidance_scale=scale) for name, guider in guiders.items()})


def words(call: TinyCall) -> Words:
    return {
        "prompt": call.prompt, "negative_prompt": call.negative_prompt, "height": call.height, "width": call.width,
        "num_frames": call.frames, "num_inference_steps": call.steps,
    }  # fmt: skip


def nothing(call: TinyCall) -> Words:
    return {}


def row(
    name: str, components: Callable[[], Words], given: Callable[[TinyCall], Words] = nothing,
    options: Words = SHORT, sizes: tuple[tuple[int, int, int], ...] = wan.SIZES, *, names: Words | None = None,
    arguments: Callable[[TinyCall], Words] | None = None, without: tuple[str, ...] = (),
    finish: Callable[[Any], None] = leave, **more: Any,
) -> Tiny:  # fmt: skip
    """names: engine's name of a condition -> the pipeline's. arguments: those of the conditions, where names do not
    suffice. without: words that the pipeline does not take."""
    names = names or {}

    def named(tiny: TinyCall) -> Words:
        return {names.get(key, key): value for key, value in given(tiny).items()}

    def call(tiny: TinyCall) -> Words:
        found = {**words(tiny), **options, **(arguments or named)(tiny)}
        return {key: value for key, value in found.items() if key not in without}

    def prepare(pipeline: Any, tiny: TinyCall) -> None:
        set_guidance(pipeline, guided=tiny.guided or not more.get("guides", True))

    build = builder(name.partition(":")[0], components, finish)
    return Tiny(name, build, call, sizes, given, options, prepare=prepare, **more)
