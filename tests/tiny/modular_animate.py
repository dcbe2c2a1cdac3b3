"""Wan-Animate-2 as blocks: a character moves as in a driving video, segment by segment, with a distilled form.

Its transformer attends by flex attention with a block mask, which the library compiles; here the mask is not compiled.
Images are encoded by features of width 1280, which its layers assume.
"""

from __future__ import annotations

from types import FunctionType, MethodType
from typing import Any

from tests.tiny import parts, wan
from tests.tiny.modular_rows import Words, row
from tests.tiny.table import Tiny, TinyCall

ANIMATE, DISTILLED = "WanAnimate2ModularPipeline", "WanAnimate2DistilledModularPipeline"
#: width of image features, and side of the images in px, that its code assumes
FEATURES, SIDE = 1280, 224
#: segments of five frames that overlap by one
OPTIONS: Words = {"max_sequence_length": 16, "segment_frame_length": 5}


def transformer() -> Any:
    from diffusers import WanAnimate2Transformer3DModel

    model = WanAnimate2Transformer3DModel(
        text_len=16, in_dim=12, dim=24, ffn_dim=16, freq_dim=16, text_dim=16, out_dim=4, num_heads=2, num_layers=2
    )
    return uncompiled(parts.fill_zeros(model).eval())


def uncompiled(model: Any) -> Any:
    """The model, which builds its block masks without compiling them."""
    function: Any = type(model).create_mask
    build = function.__globals__["create_block_mask"]
    names = {"create_block_mask": lambda *args, **kwargs: build(*args, **{**kwargs, "_compile": False})}
    create = FunctionType(function.__code__, function.__globals__ | names, function.__name__)
    model.create_mask = MethodType(create, model)
    return model


def components() -> Words:
    """A scheduler whose step takes a generator, which the loop gives it."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return {
        **wan.text_parts(), "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0), "vae": parts.wan_vae(),
        "transformer": transformer(),
        "image_encoder": parts.clip_vision(FEATURES, SIDE),
    }  # fmt: skip


def driving(call: TinyCall) -> Words:
    """A character's image, and the video that moves it."""
    return {**wan.first(call), "control": {"driving": parts.clip(call.frames, call.width, call.height)}}


def arguments(call: TinyCall) -> Words:
    given = driving(call)
    return {"image": given["image"], "driving_video": given["control"]["driving"]}


def animate_row(name: str, **more: Any) -> Tiny:
    return row(name, components, driving, OPTIONS, arguments=arguments, without=("num_frames",), batch=False, **more)


ROWS = (animate_row(ANIMATE), animate_row(DISTILLED, guides=False))
