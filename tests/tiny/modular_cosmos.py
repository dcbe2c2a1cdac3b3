"""Cosmos 3 as blocks: video, with or without sound, from a text, an image or a video; a distilled form in few steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.tiny import cosmos, parts
from tests.tiny.modular_rows import Words, nothing, row
from tests.tiny.table import Tiny, TinyCall

OMNI, DISTILLED = "Cosmos3OmniModularPipeline", "Cosmos3DistilledModularPipeline"
SOUND: Words = {"fps": 24.0, "enable_sound": True}
SILENT: Words = {"fps": 24.0}
#: noise levels of the distilled steps, which are fixed
LEVELS = [1.0, 0.8, 0.4]
LONGER = ((13, 32, 32), (17, 48, 32))


def components() -> Words:
    return {
        "transformer": cosmos.omni_transformer(), "text_tokenizer": cosmos.chat_tokenizer("turn.content"),
        "vae": parts.wan_vae(cosmos.CHANNELS), "scheduler": parts.flow_unipc(),
        "sound_tokenizer": cosmos.sound_tokenizer(),
    }  # fmt: skip


def distilled_components() -> Words:
    from diffusers import FlowMatchEulerDiscreteScheduler

    found = components() | {"scheduler": FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)}
    del found["sound_tokenizer"]
    return found | {"distilled_sigmas": LEVELS}


def let_pass(pipeline: Any) -> None:
    """A checker that lets every prompt and video pass."""
    pipeline.enable_safety_checker(cosmos.SafetyChecker())


def edges(call: TinyCall) -> Words:
    return {"control": {"edge": parts.clip(call.frames, call.width, call.height)}}


def transfer(call: TinyCall) -> Words:
    """In segments of five frames, each of which begins with the last frame of the one before."""
    return {"control_videos": edges(call)["control"], "num_video_frames_per_chunk": 5}


def omni_row(
    name: str, given: Callable[[TinyCall], Words] = nothing, options: Words = SILENT,
    arguments: Callable[[TinyCall], Words] | None = None, **more: Any,
) -> Tiny:  # fmt: skip
    def guided(call: TinyCall) -> Words:
        return {"guidance_scale": 4.0 if call.guided else 1.0, **(arguments or given)(call)}

    more = {"sizes": cosmos.SECOND_SIZES, **more}
    return row(name, components, given, options, arguments=guided, finish=let_pass, batch=False, **more)


def distilled_row(name: str, given: Callable[[TinyCall], Words] = nothing) -> Tiny:
    return row(
        name, distilled_components, given, SILENT, cosmos.SECOND_SIZES, finish=let_pass, batch=False, guides=False,
        without=("negative_prompt",),
    )  # fmt: skip


ROWS = (
    omni_row(OMNI),
    omni_row(f"{OMNI}:sound", options=SOUND),
    omni_row(f"{OMNI}:image", cosmos.first_frame, SOUND),
    omni_row(f"{OMNI}:video", cosmos.source, SOUND, sizes=LONGER),
    omni_row(f"{OMNI}:transfer", edges, arguments=transfer),
    distilled_row(DISTILLED),
    distilled_row(f"{DISTILLED}:image", cosmos.first_frame),
)  # fmt: skip
