"""Size, length and rate of a clip that is made from an image or a video."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.tiny import parts
from tests.tiny.table import load_rows
from videogen import RenderRequest, Video
from videogen.backbones.hosting.backbone import HostedBackbone
from videogen.request.resolved import ResolvedRequest


@cache
def backbone(name: str) -> HostedBackbone:
    defaults = {"width": 64, "height": 64, "frames": 9, "fps": 16}
    return HostedBackbone(load_rows()[name].build(), name, "tiny", defaults)


def resolve(name: str, conditions: dict[str, Any], **values: Any) -> ResolvedRequest:
    return RenderRequest("a red ball", conditions=conditions, **values).resolve(backbone(name))


def video(frames: int, width: int = 64, height: int = 64, fps: float = 16) -> Video:
    return Video(np.zeros((frames, height, width, 3), np.uint8), fps)


@pytest.mark.parametrize(
    ("image", "values", "size", "notes"),
    [
        pytest.param((64, 64), {}, (64, 64), 0, id="the default shape"),
        pytest.param((512, 512), {}, (64, 64), 0, id="the same shape, larger"),
        pytest.param((400, 100), {}, (128, 32), 1, id="wide, at the same area"),
        pytest.param((100, 400), {}, (32, 128), 1, id="high"),
        pytest.param((800, 100), {}, (176, 16), 2, id="the most elongated: at least one multiple, cropped"),
        pytest.param((200, 100), {"width": 128}, (128, 64), 1, id="a given width"),
        pytest.param((200, 100), {"height": 32}, (64, 32), 1, id="a given height"),
        pytest.param((200, 100), {"width": 32, "height": 32}, (32, 32), 1, id="a given size crops"),
    ],
)
def test_size_follows_an_image(
    image: tuple[int, int], values: dict[str, int], size: tuple[int, int], notes: int
) -> None:
    resolved = resolve("WanImageToVideoPipeline", {"image": parts.image(*image)}, **values)
    assert (resolved.width, resolved.height) == size
    assert len(resolved.source_notes) == notes and set(resolved.source_notes) <= set(resolved.notes)


@pytest.mark.parametrize(
    ("source", "values", "frames", "notes"),
    [
        pytest.param(5, {}, 5, [], id="as it is"),
        pytest.param(8, {}, 5, ["frames=5"], id="trimmed to what fills latents"),
        pytest.param(30, {}, 9, ["frames=9"], id="trimmed to what is generated at once"),
        pytest.param(30, {"frames": 5}, 5, ["the rest is not used"], id="a given length trims"),
        pytest.param(3, {"frames": 5}, 5, ["last frame is held"], id="a given length holds"),
        pytest.param(1, {}, 9, ["last frame is held"], id="one frame is no length"),
    ],
)
def test_length_follows_a_video(source: int, values: dict[str, int], frames: int, notes: list[str]) -> None:
    resolved = resolve("WanVideoToVideoPipeline", {"video": video(source)}, **values)
    assert resolved.frames == resolved.generated_frames == frames
    assert len(resolved.source_notes) == len(notes)
    assert all(text in note for text, note in zip(notes, resolved.source_notes, strict=True))


def test_rate_follows_a_video() -> None:
    name = "WanVideoToVideoPipeline"
    followed = resolve(name, {"video": video(5, fps=30)})
    assert (followed.fps, followed.source_notes) == (30, ("fps=30 follows video",))
    assert resolve(name, {"video": video(5, fps=30)}, fps=8).fps == 8
    assert resolve(name, {"video": parts.clip(5, 64, 64)}).fps == 16


def test_control_videos_set_the_length_and_a_face_not_the_size() -> None:
    control = {"pose": video(5, 64, 32), "face": video(5, 16, 16)}
    resolved = resolve("WanAnimatePipeline", {"image": parts.image(128, 64), "control": control})
    assert (resolved.width, resolved.height, resolved.frames) == (96, 48, 5)
    assert not any("face" in note for note in resolved.source_notes)


def test_a_video_that_the_clip_continues_does_not_set_its_length() -> None:
    resolved = resolve("AnyFlowPipeline", {"video": video(1)})
    assert resolved.frames == 9 and resolved.source_notes == ()


def test_references_are_neither_cropped_nor_followed() -> None:
    resolved = resolve("WanVACEPipeline", {"references": [parts.image(30, 90)]})
    assert (resolved.width, resolved.height, resolved.source_notes) == (64, 64, ())


def test_what_resolved_from_a_source_resolves_to_the_same_again() -> None:
    resolved = resolve("WanVideoToVideoPipeline", {"video": video(8, 128, 64, 30)})
    again = RenderRequest.from_dict(resolved.to_dict() | {"conditions": {"video": video(8, 128, 64, 30)}})
    assert again.resolve(backbone("WanVideoToVideoPipeline")).to_dict() == resolved.to_dict()
