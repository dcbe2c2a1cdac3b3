"""Lengths that hosted pipelines make: one that does not fit is refused with the two nearest, which run."""

from __future__ import annotations

import re

import pytest

from tests.contract.hosting import engine_of, first_call, request_of
from tests.tiny.table import TinyCall, load_rows
from videogen.backbones.hosting.lengths import LENGTHS
from videogen.core.errors import InputError

ROWS = load_rows()
#: pipeline -> (a length that is not made, the nearest ones); segments of the tiny rows have 3 latents, sections 2
WRONG = {
    "LattePipeline": (3, [1, 4]),
    "Kandinsky5I2VPipeline": (13, [17]),
    "AllegroPipeline": (4, [8]),
    "HunyuanVideoFramepackPipeline": (13, [9, 17]),
    "HeliosPipeline": (21, [17, 25]),
    "HeliosPyramidPipeline": (21, [17, 25]),
}
SLOW = ("HunyuanVideoFramepackPipeline", "HeliosPyramidPipeline")
CASES = [
    pytest.param(name, wrong, near, id=name, marks=pytest.mark.slow if name in SLOW else ())
    for name, (wrong, near) in WRONG.items()
]


@pytest.mark.parametrize(("name", "wrong", "near"), CASES)
def test_a_length_that_is_not_made_is_refused_with_the_nearest(name: str, wrong: int, near: list[int]) -> None:
    row = ROWS[name]
    call = first_call(row, steps=1)
    engine, options = engine_of(row, call), request_of(row, call)
    with pytest.raises(InputError, match=f"frames={wrong} does not fit") as refused:
        engine.generate("a red ball", **options | {"frames": wrong})
    assert [int(count) for count in re.findall(r"\d+", str(refused.value).rpartition("use ")[2])] == near
    for count in near:
        video = engine.generate("a red ball", **options | {"frames": count})
        assert video.frames.shape == (count, call.height, call.width, 3)


def test_default_lengths_are_made() -> None:
    """Those of the library's calls, 132 and 129, are rounded by its pipelines to these."""
    for name, default in (("HeliosPipeline", 129), ("HunyuanVideoFramepackPipeline", 145)):
        backbone = engine_of(ROWS[name], TinyCall(9, 32, 32)).backbone
        assert backbone.defaults.frames == default
        assert LENGTHS[name].fits(backbone.pipeline, default, {})


def test_a_size_that_tiles_do_not_cover_is_refused_with_the_nearest() -> None:
    row = ROWS["AllegroPipeline"]
    call = first_call(row, steps=1)
    with pytest.raises(InputError, match=r"width=16 does not fit .*; use 32$"):
        engine_of(row, call).generate("a red ball", **request_of(row, call) | {"size": (16, 32)})
