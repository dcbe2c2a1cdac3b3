"""Echo as blocks: video with sound from a text, a first image and remembered images, by LTX-2's components.

It has no scheduler: its loop goes over noise levels, predicts the clean clip and adds fresh noise to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.tiny import ltx2, parts
from tests.tiny.modular_rows import Words, nothing, row
from tests.tiny.table import Tiny, TinyCall

NAME = "EchoModularPipeline"
LEVELS = [1.0, 0.9, 0.7, 0.4]


def components() -> Words:
    return {
        "vae": ltx2.vae(), "audio_vae": ltx2.audio_vae(), "text_encoder": ltx2.text_encoder(),
        "tokenizer": parts.word_tokenizer(), "connectors": ltx2.connectors(), "transformer": ltx2.transformer(),
        "vocoder": ltx2.vocoder(),
    }  # fmt: skip


def remembered(call: TinyCall) -> Words:
    """A first image, and two that the clip remembers."""
    return ltx2.first_frame(call) | {"references": [parts.image(call.width, call.height, shade) for shade in (90, 160)]}


def echo_row(name: str, given: Callable[[TinyCall], Words] = nothing, **more: Any) -> Tiny:
    names = {"references": "memory_images"}

    def arguments(call: TinyCall) -> Words:
        conditions = {names.get(key, key): value for key, value in given(call).items()}
        return {"sigmas": [*LEVELS[: call.steps], 0.0], **conditions}

    options = {"max_sequence_length": 16, "frame_rate": 24.0}
    return row(
        name, components, given, options, ltx2.SIZES, without=("negative_prompt", "num_inference_steps"),
        guides=False, arguments=arguments, **more,
    )  # fmt: skip


ROWS = (
    echo_row(NAME),
    echo_row(f"{NAME}:image", given=ltx2.first_frame, batch=False),
    echo_row(f"{NAME}:references", given=remembered, batch=False),
)
