"""Positions of denoisers: the largest clip that a request may have is the largest that the pipeline can make."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tiny import parts
from tests.tiny.table import Tiny, TinyCall, load_rows
from videogen import InputError, RenderRequest
from videogen.backbones.anatomy import ANATOMY, anatomy_of
from videogen.backbones.hosting.backbone import HostedBackbone
from videogen.backbones.hosting.pipelines import PIPELINES
from videogen.core.denoisers import find_denoisers

from .cases import build_engine, class_of, request_options

#: rows whose pipeline fails at this size for another reason, or makes its clip in sections
UNCHECKED = {"SanaWMPipeline", "AnyFlowFARPipeline"}


def limited_rows() -> list[Any]:
    """A parameter per class of denoiser with limited positions, with its first hosted row; all but Wan's are slow."""
    found: dict[str, Tiny] = {}
    for row in load_rows().values():
        if class_of(row) not in PIPELINES or class_of(row) in UNCHECKED:
            continue
        kind = anatomy_of(next(iter(find_denoisers(row.build()).values())))
        if kind.positions is not None:
            found.setdefault(kind.name, row)
    slow = pytest.mark.slow
    return [pytest.param(row, id=name, marks=() if name in CORE else slow) for name, row in sorted(found.items())]


CORE = ("WanTransformer3DModel",)


def backbone_of(row: Tiny) -> HostedBackbone:
    return HostedBackbone(row.build(), row.name, "tiny")


def resolve(row: Tiny, call: TinyCall, **further: Any) -> Any:
    options = request_options(row, call)
    width, height = options.pop("size")
    given = row.given(call)
    plain = {name: value for name, value in options.items() if name not in given}
    request = RenderRequest("a red ball", width=width, height=height, conditions=given or None, **plain, **further)
    return request.resolve(backbone_of(row))


@pytest.mark.parametrize("row", limited_rows())
def test_the_widest_clip_is_the_widest_that_the_pipeline_makes(row: Tiny) -> None:
    backbone, frames = backbone_of(row), row.sizes[0][0]
    width, multiple = backbone.limits.width, backbone.geometry.multiple
    assert width is not None
    least = max(multiple, 32)
    row.build()(**row.call(TinyCall(frames, width, least, steps=1)), output_type="latent")
    beyond = TinyCall(frames, width + multiple, least, steps=1)
    with pytest.raises((RuntimeError, IndexError, ValueError)):
        row.build()(**row.call(beyond), output_type="latent")
    with pytest.raises(InputError, match=f"width={beyond.width} is beyond the positions of .* use at most {width}"):
        resolve(row, beyond)


def test_the_longest_clip_is_the_longest_that_the_pipeline_makes() -> None:
    row = load_rows()["WanPipeline"]
    most = backbone_of(row).limits.frames
    assert most is not None
    row.build()(**row.call(TinyCall(most, 32, 32, steps=1)), output_type="latent")
    beyond = TinyCall(most + 4, 32, 32, steps=1)
    with pytest.raises(RuntimeError):
        row.build()(**row.call(beyond), output_type="latent")
    with pytest.raises(InputError, match=f"{most + 4} frames at once are beyond the positions of .* at most {most}"):
        resolve(row, beyond, continuity="off")


def test_positions_of_rotary_tables_are_read_from_the_configuration() -> None:
    cosmos = ANATOMY["CosmosTransformer3DModel"].positions
    assert cosmos is not None
    config = {"max_size": (128, 240, 200), "patch_size": (1, 2, 2)}
    assert cosmos(config) == (128, 128, 128)
    assert cosmos(config | {"extra_pos_embed_type": "learnable"}) == (128, 120, 100)


@pytest.mark.parametrize("name", ["WanImageToVideoPipeline", "WanVACEPipeline"])
def test_a_size_that_follows_an_image_has_positions(name: str) -> None:
    """A square image at the area of 832x480 is 624x624, and 512 px is the most for which this model has positions."""
    image = parts.image(64, 64)
    given = {"image": image} if name == "WanImageToVideoPipeline" else {"video": [image] * 5}
    defaults = {"width": 832, "height": 480, "frames": 5, "fps": 16}
    backbone = HostedBackbone(load_rows()[name].build(), name, "tiny", defaults)
    resolved = RenderRequest("a red ball", conditions=given).resolve(backbone)
    assert (resolved.width, resolved.height) == (512, 512)
    wide = RenderRequest("a", conditions={next(iter(given)): parts.image(128, 64)}, frames=5).resolve(backbone)
    assert (wide.width, wide.height) == (512, 256)


def test_an_engine_refuses_it_too() -> None:
    row = load_rows()["WanImageToVideoPipeline"]
    call = TinyCall(5, 32, 32)
    engine, options = build_engine(row, call), request_options(row, call)
    with pytest.raises(InputError, match="width=624 is beyond the positions"):
        engine.generate("a red ball", **(options | {"size": (624, 624)}))
